"""Measure the quantization error of GGUF files against their source, tensor by tensor.

SOURCE is a checkpoint (a folder or owner/name) or a GGUF file; FILE is a GGUF file made from it,
a part of a split one, or a folder of them. --html writes a self-contained page with plots. These
are errors of weights; they do not rate a model. Exit code 0 if every file has the tensors of the
source, 1 if tensors are missing or added.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit
from ggufkit.cli.model_files import tensor_bytes

if TYPE_CHECKING:
    from ggufkit.toolbox.compare.compare import Comparison, Measure


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint or GGUF file that the rungs were made from")
    add("files", metavar="FILE", nargs="+", type=Path, help="a rung, or a folder of rungs")
    add("--imatrix", metavar="FILE", type=Path, help="also weight errors by an importance matrix")
    add("--tensors", action="store_true", help="list the tensors, largest errors first")
    add("--html", metavar="OUT.html", type=Path, help="write a report with plots")
    add("--force", action="store_true", help="replace an existing OUT.html")
    add_shared(parser, "--json", "--jobs", "--quiet")
    parser.declare("--force", requires="--html")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    from ggufkit.toolbox.compare.compare import compare, expand

    if args.html is not None:
        _check_output(args.html, force=args.force)
    files = expand(args.files)
    total = 0 if args.quiet else sum(map(tensor_bytes, files))
    with render.progress(total, "compare", enabled=not args.quiet) as advance:
        found = compare(args.source, files, imatrix=args.imatrix, jobs=args.jobs, progress=advance)
    if args.html is not None:
        _write(found, args.html)
    if args.json:
        emit(found.as_dict())
    else:
        _show(found, with_tensors=args.tensors)
    return int(not found.complete)


def _check_output(path: Path, *, force: bool) -> None:
    """Refuse what would be lost, before the work and not after it."""
    from ggufkit.errors import OutputError

    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{path}: expected a name that ends in .html")
    if path.exists() and not force:
        raise OutputError(f"{path} exists: replace it with --force, or choose another name")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: no such folder")


def _write(found: Comparison, path: Path) -> None:
    from ggufkit.io.text import write_text_atomic
    from ggufkit.toolbox.compare.page import page

    write_text_atomic(path, page(found))


def _show(found: Comparison, *, with_tensors: bool) -> None:
    render.heading(f"{found.source}: {len(found.shapes)} tensors")
    weighted = ("weighted",) if found.weighted else ()
    columns = (
        *("type", "size", "bpw", "relative", *weighted),
        *("RMSE", "max error", "cosine", "file"),
    )
    rows = [
        (
            *(rung.name, render.size(rung.n_bytes), f"{rung.bits_per_weight:.2f}"),
            *(*_measures(rung.total, weighted=found.weighted), rung.file),
        )
        for rung in found.rungs
    ]
    render.table(columns, rows, right=columns[1:-1])
    if with_tensors:
        _show_tensors(found)
    for rung in found.rungs:
        for what, names in (("lacks", rung.missing), ("also has", rung.extra)):
            if names:
                render.note(f"{rung.file} {what} {len(names)} tensors, such as {names[0]}.")
    render.note("Errors of weights: they do not rate a model.")


def _show_tensors(found: Comparison) -> None:
    for rung in found.rungs:
        render.blank()
        render.heading(rung.name)
        weighted = ("weighted",) if found.weighted else ()
        columns = ("type", "relative", *weighted, "RMSE", "max error", "cosine", "tensor")
        worst = sorted(rung.measures.items(), key=lambda pair: -pair[1].relative)
        rows = [
            (rung.tensors[name].type.name, *_measures(measure, weighted=found.weighted), name)
            for name, measure in worst
        ]
        render.table(columns, rows, right=columns[1:-1])


def _measures(measure: Measure, *, weighted: bool) -> tuple[str, ...]:
    if not measure.is_finite:
        return ("not finite", *(("-",) if weighted else ()), "-", "-", "-")
    shares = (measure.relative, *((measure.weighted,) if weighted else ()))
    return (
        *(f"{100 * share:#.3g}".rstrip(".") + " %" for share in shares),
        f"{measure.sums.rmse:.2e}",
        f"{measure.sums.max_abs_error:.2e}",
        f"{measure.sums.cosine:.5f}",
    )
