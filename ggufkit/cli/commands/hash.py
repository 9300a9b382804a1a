"""Hash GGUF files: each file, each tensor, and all weights of a model.

The digest of the weights does not change when only metadata, tensor order, alignment or splits
change. FILE may be any part of a split model; all its parts are hashed. The output is a manifest
for 'sha256sum -c' and 'ggufkit hash --check', which also reads those of llama-gguf-hash.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, UsageError, add_shared, refuse
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.toolbox.hash import FileHash


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="GGUF file, or any part of a split one")
    add("--tensors", action="store_true", help="show the digest of every tensor")
    add(
        "--xxh64",
        action="store_true",
        help="print xxh64 sums of the tensors' bytes instead, in the format of llama-gguf-hash",
    )
    add(
        "--check",
        type=Path,
        metavar="MANIFEST",
        help="check the files listed in a manifest such as SHA256SUMS; exit with 1 if one is "
        "different or missing",
    )
    add_shared(parser, "--json", "--jobs", "--quiet")
    parser.declare("--tensors", "--jobs", conflicts="--xxh64")
    parser.declare("FILE", "--tensors", "--xxh64", conflicts="--check")


def run(args: argparse.Namespace) -> int:
    """Hash files, or check a manifest."""
    if not (args.files or args.check):
        raise UsageError("expected FILE or --check MANIFEST")
    if args.check:
        return _check(args)
    return _payload(args) if args.xxh64 else _hash(args)


def _payload(args: argparse.Namespace) -> int:
    from ggufkit.toolbox.payload import payload_lines

    models, total = _models(args.files)
    with render.progress(total, "hash", enabled=not args.quiet) as advance:
        lines = [line for path in models for line in payload_lines(path, progress=advance)]
    if args.json:
        emit([vars(line) for line in lines])
        return 0
    for line in lines:
        sys.stdout.write(render.plain(str(line)) + "\n")
    return 0


def _hash(args: argparse.Namespace) -> int:
    from ggufkit.toolbox.hash import hash_file

    models, total = _models(args.files)
    with render.progress(total, "hash", enabled=not args.quiet) as advance:
        results = [hash_file(path, jobs=args.jobs, progress=advance) for path in models]
    if args.json:
        emit([_as_dict(found) for found in results])
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are bytes
    for path, found in zip(models, results, strict=True):
        _show(path, found, tensors=args.tensors)
    return 0


def _models(paths: list[Path]) -> tuple[list[Path], int]:
    """Return one file of each model, and the bytes of all their parts."""
    from ggufkit.gguf.open import open_gguf

    models: list[Path] = []
    seen: set[Path | None] = set()
    total = 0
    for path in paths:
        if path not in seen:
            models.append(path)
            with open_gguf(path) as model:
                seen.update(part.path for part in model.parts)
                total += model.file_size
    return models, total


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # checking it says that it is missing
        return 0


def _show(path: Path, found: FileHash, *, tensors: bool) -> None:
    from ggufkit.toolbox.hash import manifest_line

    # Lines that start with '#' are comments to sha256sum.
    for name, digest in found.tensors.items() if tensors else ():
        sys.stdout.write(f"# tensor   {digest}  {render.plain(name)}\n")
    sys.stdout.write(f"# weights  {found.weights}  {render.plain(str(path))}\n")
    for part, digest in found.files.items():
        sys.stdout.write(manifest_line(digest, str(part)) + "\n")


def _as_dict(found: FileHash) -> dict[str, Any]:
    return {
        "weights": found.weights,
        "files": {str(path): digest for path, digest in found.files.items()},
        "tensors": found.tensors,
    }


def _check(args: argparse.Namespace) -> int:
    from ggufkit.toolbox.hash import check_manifest, read_manifest
    from ggufkit.toolbox.payload import is_payload_manifest

    if is_payload_manifest(args.check):
        return _check_payload(args)
    paths = [args.check.parent / name for _, name in read_manifest(args.check)]
    total = sum(map(_size_of, paths))
    with render.progress(total, "check", enabled=not args.quiet) as advance:
        checks = check_manifest(args.check, jobs=args.jobs, progress=advance)
    return _report([(check.name, check.status) for check in checks], as_json=args.json)


def _check_payload(args: argparse.Namespace) -> int:
    from ggufkit.toolbox.payload import check_payload, read_payload_manifest

    refuse(args, "with a manifest of xxh64 sums", "--jobs")
    names = {line.name.partition(":")[0] for line in read_payload_manifest(args.check)}
    total = sum(_size_of(args.check.parent / name) for name in names)
    with render.progress(total, "check", enabled=not args.quiet) as advance:
        states = check_payload(args.check, progress=advance)
    return _report(states, as_json=args.json)


def _report(states: Iterable[tuple[str, str]], *, as_json: bool) -> int:
    from ggufkit.cli import render

    listed = [{"name": name, "status": status} for name, status in states]
    if as_json:
        emit(listed)
    else:
        for found in listed:
            sys.stdout.write(f"{render.plain(found['name'])}: {found['status']}\n")
    return int(any(found["status"] != "ok" for found in listed))
