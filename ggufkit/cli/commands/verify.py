"""Verify that a GGUF file is what its checkpoint gives, or what a manifest says.

With --source, every tensor is derived again from the checkpoint, a few rows at a time, and
compared with the file's: are these the bytes that llama.cpp's converter and llama-quantize give?
Nothing is written. Give what the file was made with: --imatrix, --via, --pre, --name. Without
--source, the file's SHA-256 is compared with the SHA256SUMS or ladder.json beside it, or with
--manifest. Exit code 0: it is, 1: it is not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli.arguments import positive
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.toolbox.verify import Verification


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a GGUF file, or any part of a split one")
    add("--manifest", type=Path, metavar="SUMS", help="lines of sha256sum; default: SHA256SUMS")
    add("--source", metavar="SOURCE", help="checkpoint folder, owner/name, or GGUF file")
    add("--recipe", metavar="TYPE", help="file type; default: what the file says")
    add("--imatrix", type=Path, metavar="FILE", help="importance matrix that it was made with")
    add("--via", choices=("f32", "f16", "bf16"), help="as given to convert")
    add("--revision", metavar="REV", help="branch, tag or commit of a Hub repository")
    add("--pre", metavar="NAME", help="as given to convert")
    add("--name", help="as given to convert")
    add("--allow-requantize", action="store_true", help="take a source that is quantized")
    add("--weights-only", action="store_true", help="do not mind other metadata")
    add("-j", "--jobs", type=positive, metavar="N", help="threads; default: one per CPU")
    add("--json", action="store_true", help="print JSON")
    add("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Compare and say what was found."""
    return _against_source(args) if args.source else _against_sums(args)


def _against_sums(args: argparse.Namespace) -> int:
    from ggufkit.cli import render
    from ggufkit.errors import MissingFileError
    from ggufkit.toolbox.hash import hash_file, read_manifest

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
    from ggufkit.cli import model_files, render
    from ggufkit.toolbox.verify import verify

    with render.progress(
        model_files.tensor_bytes(args.file), "verify", enabled=not args.quiet
    ) as advance:
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
    from ggufkit.cli.metadata_changes import json_keys

    return {
        "recipe": found.recipe,
        "same_file": found.same_file,
        "same_weights": found.same_weights,
        "n_tensors": found.n_tensors,
        "mismatches": [vars(mismatch) for mismatch in found.mismatches],
        "metadata": json_keys(found.metadata),
    }


def _show(found: Verification, source: str) -> None:
    from ggufkit.cli import render
    from ggufkit.cli.metadata_changes import metadata_rows

    made = f"{found.recipe} of {source}"
    if found.same_file:
        render.heading(f"Every byte is what llama.cpp's tools give for {made}.")
        return
    if found.same_weights:
        render.heading(f"All {found.n_tensors} tensors are what llama-quantize gives for {made}.")
    else:
        n = len(found.mismatches)
        render.heading(f"{n} of {found.n_tensors} tensors are not what {made} gives.")
        render.table(("tensor", ""), [(m.name, m.what) for m in found.mismatches])
    if found.metadata:
        render.note("Metadata differs (-: the file, +: what the source gives):")
        render.table(("", "key", "type", "value"), metadata_rows(found.metadata))
    elif found.same_weights:
        render.note("The header is laid out differently, or the file is split.")
