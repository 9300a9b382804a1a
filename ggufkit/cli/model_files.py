"""Sizes of models for progress bars, and the one way in which commands copy a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import json_output, render
from ggufkit.gguf.open import open_gguf

if TYPE_CHECKING:
    from ggufkit.toolbox.copying import CopyTarget


def add_files(parser: argparse.ArgumentParser, out: str = "file to write") -> None:
    """Declare what `run_copy` reads and writes."""
    text = "GGUF file, or any part of a split one"
    parser.add_argument("file", type=Path, metavar="FILE", help=text)
    parser.add_argument("out", type=Path, metavar="OUT", help=out)


def count_weights(path: str | Path) -> int:
    """Return the weights of a model, all parts together."""
    with open_gguf(path) as model:
        return sum(info.n_weights for info in model.tensors.values())


def tensor_bytes(path: Path) -> int:
    """Return the bytes of a model's tensors, all parts together."""
    with open_gguf(path) as model:
        return sum(info.nbytes for info in model.tensors.values())


def run_copy(
    args: argparse.Namespace,
    write: Callable[..., CopyTarget | Sequence[CopyTarget]],
    **options: Any,
) -> int:
    """Write one or several files from ``args.file`` to ``args.out``, and show them.

    Parameters
    ----------
    args : argparse.Namespace
        With `add_output`'s options.
    write : callable
        A function of the toolbox that copies a model.
    **options
        Its other parameters.
    """
    quiet = args.quiet or args.dry_run
    total = 0 if quiet else tensor_bytes(args.file)
    with render.progress(total, args.command, enabled=not quiet) as advance:
        written = write(
            args.file,
            args.out,
            dry_run=args.dry_run,
            force=args.force,
            progress=advance,
            **options,
        )
    _show(written if isinstance(written, Sequence) else [written], as_json=args.json)
    return 0


def _show(targets: Sequence[CopyTarget], *, as_json: bool) -> None:
    facts = [(str(t.path), len(t.layout.tensors), t.layout.file_size) for t in targets]
    if as_json:
        json_output.emit([{"path": p, "n_tensors": n, "n_bytes": size} for p, n, size in facts])
        return
    columns = ("tensors", "bytes", "size", "file")
    rows = [(str(n), str(size), render.size(size), path) for path, n, size in facts]
    render.table(columns, rows, right=columns[:3])
