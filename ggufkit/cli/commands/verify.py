"""Verify that a GGUF file is what its checkpoint gives, or what a manifest says.

With --source, every tensor is derived again from the checkpoint, a few rows at a time, and compared
with the file: are these the bytes that llama.cpp's converter and llama-quantize write? Nothing is
written. Give the options that the file was made with: --imatrix, --via, --pre, --name. Without
--source, the file's SHA-256 is compared with --manifest, by default SHA256SUMS in its folder. Exit
code 0 if it matches, 1 if it does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit
from ggufkit.cli.metadata_changes import json_keys, metadata_rows
from ggufkit.cli.model_files import tensor_bytes
from ggufkit.errors import MissingFileError
from ggufkit.toolbox.hash import hash_file, read_manifest

if TYPE_CHECKING:
    from ggufkit.toolbox.verify import Verification


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="GGUF file, or any part of a split one")
    add("--manifest", type=Path, metavar="MANIFEST", help="checksums; default: SHA256SUMS")
    add("--source", metavar="SOURCE", help="checkpoint folder, owner/name on the Hub, or GGUF file")
    add("--recipe", metavar="TYPE", help="file type; default: that in the file")
    add("--imatrix", type=Path, metavar="FILE", help="importance matrix, as given to convert")
    add("--via", choices=("f32", "f16", "bf16"), help="as given to convert")
    add_shared(parser, "--revision")
    add("--pre", metavar="NAME", help="as given to convert")
    add("--name", metavar="NAME", help="as given to convert")
    add("--allow-requantize", action="store_true", help="accept a quantized source")
    add("--weights-only", action="store_true", help="ignore differences of metadata")
    add_shared(parser, "--json", "--jobs", "--quiet")
    parser.declare("--manifest", conflicts="--source")
    parser.declare(
        *("--recipe", "--imatrix", "--via", "--revision", "--pre", "--name"),
        *("--allow-requantize", "--weights-only"),
        requires="--source",
    )


def run(args: argparse.Namespace) -> int:
    """Compare and say what was found."""
    return _against_source(args) if args.source else _against_sums(args)


def _against_sums(args: argparse.Namespace) -> int:
    manifest = args.manifest or args.file.parent / "SHA256SUMS"
    known = {name: digest for digest, name in read_manifest(manifest)}
    total = args.file.stat().st_size if args.file.is_file() else 0
    with render.progress(total, "verify", enabled=not args.quiet) as advance:
        found = hash_file(args.file, jobs=args.jobs, progress=advance)
    unlisted = [path.name for path in found.files if path.name not in known]
    if unlisted:
        raise MissingFileError(f"{manifest}: does not list {unlisted[0]}")
    states = {path.name: known[path.name] == digest for path, digest in found.files.items()}
    if args.json:
        emit({"manifest": str(manifest), "files": states})
    else:
        for name, right in states.items():
            sys.stdout.write(f"{render.plain(name)}: {'ok' if right else 'different'}\n")
    return int(not all(states.values()))


def _against_source(args: argparse.Namespace) -> int:
    from ggufkit.toolbox.verify import verify

    total = tensor_bytes(args.file)
    with render.progress(total, "verify", enabled=not args.quiet) as advance:
        found = verify(
            args.file,
            args.source,
            recipe=args.recipe,
            imatrix=args.imatrix,
            jobs=args.jobs,
            progress=advance,
            via=args.via,
            revision=args.revision,
            pre=args.pre,
            name=args.name,
            allow_requantize=args.allow_requantize,
        )
    if args.json:
        emit(_as_dict(found))
    else:
        _show(found, args.source)
    right = found.same_weights if args.weights_only else found.same_file
    return int(not right)


def _as_dict(found: Verification) -> dict[str, object]:
    return {
        "recipe": found.recipe,
        "same_file": found.same_file,
        "same_weights": found.same_weights,
        "n_tensors": found.n_tensors,
        "mismatches": [vars(mismatch) for mismatch in found.mismatches],
        "metadata": json_keys(found.metadata),
    }


def _show(found: Verification, source: str) -> None:
    made = f"{found.recipe} of {source}"
    if found.same_file:
        render.heading(f"Every byte is what llama.cpp's tools give for {made}.")
        return
    if found.same_weights:
        render.heading(f"All {found.n_tensors} tensors are what llama-quantize gives for {made}.")
    else:
        n = len(found.mismatches)
        render.heading(f"{n} of {found.n_tensors} tensors differ from those of {made}.")
        render.table(("tensor", ""), [(m.name, m.what) for m in found.mismatches])
    if found.metadata:
        render.note("Metadata differs (-: the file, +: what the source gives):")
        render.table(("", "key", "type", "value"), metadata_rows(found.metadata))
    elif found.same_weights:
        render.note("The header is laid out differently, or the file is split.")
