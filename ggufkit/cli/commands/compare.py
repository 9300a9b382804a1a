"""Measure rungs against their source: the error of every tensor, as a table or a report.

SOURCE is a checkpoint (a folder or OWNER/NAME) or a GGUF file; FILE a GGUF file made from it, a
part of a split one, or a folder of them. --html writes one page with plots, which needs no network
and no scripts. These are errors of weights and do not rate a model. Exit code 0: every file has
the source's tensors, 1: one lacks some or has others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli.arguments import positive
from ggufkit.cli.json_output import emit
from ggufkit.cli.model_files import tensor_bytes

if TYPE_CHECKING:
    from ggufkit.toolbox.compare import Comparison, Measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="what the rungs were made from")
    add("files", metavar="FILE", nargs="+", type=Path, help="a rung, or a folder of rungs")
    add("--imatrix", metavar="FILE", type=Path, help="also weight errors by this importance matrix")
    add("--tensors", action="store_true", help="list the tensors, the largest errors first")
    add("--html", metavar="OUT.html", type=Path, help="write a report with plots")
    add("--force", action="store_true", help="replace OUT.html if it exists")
    add("--json", action="store_true", help="print everything as JSON")
    add("-j", "--jobs", type=positive, metavar="N", help="threads; default: one per CPU")
    add("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Measure, print and write."""
    from ggufkit.cli import render
    from ggufkit.toolbox.compare import compare, expand

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
        raise OutputError(f"{path}: a report's name ends in .html")
    if path.exists() and not force:
        raise OutputError(f"{path} exists: replace it with --force, or choose another name")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path}: there is no such folder")


def _write(found: Comparison, path: Path) -> None:
    from ggufkit.io.text import write_text_atomic
    from ggufkit.toolbox.compare.page import page

    write_text_atomic(path, page(found))


def _show(found: Comparison, *, with_tensors: bool) -> None:
    from ggufkit.cli import render

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
    from ggufkit.cli import render

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
