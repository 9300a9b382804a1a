"""Show the differences between two models: metadata, tensors, and errors of weights.

A and B are GGUF files or parts of split models. Errors are those of B's weights against A's, for
tensors of equal shape whose types or bytes differ. Order, alignment, padding and splits are not
compared. Exit code 0 if the models are the same, 1 if they differ.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit
from ggufkit.cli.metadata_changes import json_keys, metadata_rows
from ggufkit.cli.model_files import tensor_bytes

if TYPE_CHECKING:
    from ggufkit.codecs.error_sums import ErrorSums
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.toolbox.diff import Difference, TensorDifference


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("a", metavar="A", type=Path, help="GGUF file, or any part of a split one")
    add("b", metavar="B", type=Path, help="file to compare with it")
    add("--no-data", action="store_true", help="compare only the headers, not the weights")
    add_shared(parser, "--json", "--jobs", "--quiet")
    parser.declare("--jobs", "--quiet", conflicts="--no-data")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from ggufkit.toolbox.diff import diff

    quiet = args.quiet or args.no_data
    total = 0 if quiet else sum(map(tensor_bytes, (args.a, args.b)))
    with render.progress(total, "compare", enabled=not quiet) as advance:
        found = diff(args.a, args.b, data=not args.no_data, jobs=args.jobs, progress=advance)
    if args.json:
        emit(as_json(found))
    else:
        _show(found)
    return int(bool(found))


def as_json(found: Difference) -> dict[str, Any]:
    """Return all differences, ready for `json.dump`."""
    return {
        "same": not found,
        "data_compared": found.data_compared,
        "reordered": found.reordered,
        "metadata": json_keys(found.metadata),
        "n_tensors": found.n_tensors,
        "tensors": [
            {
                "name": tensor.name,
                "kind": tensor.kind,
                "a": _json_info(tensor.a),
                "b": _json_info(tensor.b),
                "errors": _json_errors(tensor.errors),
            }
            for tensor in found.tensors
        ],
        "errors": _json_errors(found.errors),
    }


def _json_info(info: TensorInfo | None) -> dict[str, Any] | None:
    if info is None:
        return None
    return {"type": info.type.name, "shape": list(info.shape), "n_bytes": info.nbytes}


def _json_errors(errors: ErrorSums | None) -> dict[str, float] | None:
    return errors.as_dict() if errors is not None and _is_finite(errors) else None


def _is_finite(errors: ErrorSums) -> bool:
    return math.isfinite(errors.error2 + errors.source2 + errors.decoded2)


def _show(found: Difference) -> None:
    if found.metadata:
        render.heading(f"Metadata: {len(found.metadata)} keys differ")
        render.table(("", "key", "type", "value"), metadata_rows(found.metadata))
    if found.tensors:
        if found.metadata:
            render.blank()
        render.heading(f"Tensors: {len(found.tensors)} of {found.n_tensors} differ")
        columns = ("tensor", "A", "B", "RMSE", "max error", "cosine")
        rows = [_tensor_row(tensor) for tensor in found.tensors]
        if found.errors is not None and len(rows) > 1:
            rows.append(("all of these", "", "", *_measures(found.errors)))
        render.table(columns, rows, right=columns[3:])
    compared = "metadata, tensors and weights" if found.data_compared else "metadata and tensors"
    if not found:
        render.heading(f"The same {compared}.")
    if found.reordered:
        render.note("Tensors are in another order.")


def _tensor_row(tensor: TensorDifference) -> tuple[str, ...]:
    with_shape = tensor.kind not in ("type", "data")
    sides = (_side(info, with_shape=with_shape) for info in (tensor.a, tensor.b))
    return tensor.name, *sides, *_measures(tensor.errors)


def _side(info: TensorInfo | None, *, with_shape: bool) -> str:
    if info is None:
        return "-"
    return f"{info.type.name} {' x '.join(map(str, info.shape))}" if with_shape else info.type.name


def _measures(errors: ErrorSums | None) -> tuple[str, str, str]:
    if errors is None:
        return "-", "-", "-"
    if not _is_finite(errors):
        return "not finite", "-", "-"
    return f"{errors.rmse:.2e}", f"{errors.max_abs_error:.2e}", f"{errors.cosine:.5f}"
