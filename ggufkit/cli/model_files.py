"""Sizes of models for progress bars, and the one way in which commands copy a model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import json_output, render
from ggufkit.gguf.open import open_gguf

if TYPE_CHECKING:
    from ggufkit.gguf.model import GGUFModel
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
    """Return the bytes of a model's tensors, all parts together, in any byte order."""
    with open_gguf(path, strict=False) as model:
        return _tensor_bytes(model)


def _tensor_bytes(model: GGUFModel) -> int:
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
    with open_gguf(args.file, strict=False) as model:
        total = _tensor_bytes(model)
        left_behind = _left_behind(model)
    with render.progress(total, args.command, enabled=not quiet) as advance:
        written = write(
            args.file,
            args.out,
            dry_run=args.dry_run,
            force=args.force,
            progress=advance,
            **options,
        )
    for text in left_behind:
        render.remark(text)
    _show(written if isinstance(written, Sequence) else [written], as_json=args.json)
    return 0


def left_behind_notes(path: Path) -> list[str]:
    """Return which bytes behind the last tensors of a model will not be in a copy of it."""
    with open_gguf(path, strict=False) as model:
        return _left_behind(model)


def _left_behind(model: GGUFModel) -> list[str]:
    from ggufkit.toolbox.surplus import left_behind

    found = [(part.path, left_behind(part)) for part in model.parts]
    return [f"{path}: left out of the copy: {text}" for path, text in found if text is not None]


def _show(targets: Sequence[CopyTarget], *, as_json: bool) -> None:
    facts = [(str(t.path), len(t.layout.tensors), t.layout.file_size) for t in targets]
    done = [target.path.name for target in targets if target.done_before]
    if as_json:
        listed = [{"path": p, "n_tensors": n, "n_bytes": size} for p, n, size in facts]
        json_output.emit([{**one, "done_before": bool(done)} for one in listed])
        return
    columns = ("tensors", "bytes", "size", "file")
    rows = [(str(n), str(size), render.size(size), path) for path, n, size in facts]
    render.table(columns, rows, right=columns[:3])
    if done:
        render.note(f"Complete already: {', '.join(done)}.")
