"""Show what differs between two models: metadata, tensors, and the error of weights.

A and B are GGUF files, or any part of split ones. Errors are B's weights against A's, where
shapes agree and types or bytes differ. Order, alignment, padding and splitting are not compared.
Exit code 0: the same, 1: different.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli.arguments import positive
from ggufkit.cli.describe import MAX_SHOWN, number_text, short_type
from ggufkit.cli.files import tensor_bytes
from ggufkit.cli.header_summary import json_value

if TYPE_CHECKING:
    from ggufkit.codecs.error_sums import ErrorSums
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.toolbox.diff import Difference, KeyDifference, TensorDifference, TypedValue

HELP = "show what differs between two GGUF files"

_CONTEXT = 16  # characters shown before the first difference of long texts
_ITEMS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("a", metavar="A", type=Path, help="a GGUF file, or any part of a split one")
    add("b", metavar="B", type=Path, help="what to compare with it")
    add("--no-data", action="store_true", help="compare only the heads of the files, no weights")
    add("--json", action="store_true", help="print everything, nothing shortened, as JSON")
    add("-j", "--jobs", type=positive, metavar="N", help="threads; default: one per CPU")
    add("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from ggufkit.cli import render
    from ggufkit.toolbox.diff import diff

    quiet = args.quiet or args.no_data
    total = 0 if quiet else sum(map(tensor_bytes, (args.a, args.b)))
    with render.progress(total, "compare", enabled=not quiet) as advance:
        found = diff(args.a, args.b, data=not args.no_data, jobs=args.jobs, progress=advance)
    if args.json:
        sys.stdout.write(json.dumps(as_json(found), allow_nan=False) + "\n")
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


def json_keys(keys: tuple[KeyDifference, ...]) -> list[dict[str, Any]]:
    """Return differences of metadata, ready for `json.dump`."""
    return [{"key": k.key, "a": _json_typed(k.a), "b": _json_typed(k.b)} for k in keys]


def _json_typed(value: TypedValue | None) -> dict[str, Any] | None:
    if value is None:
        return None
    pair: dict[str, Any] = {"type": "ARRAY", "items": value.type.name}
    if not value.is_array:
        pair = {"type": value.type.name}
    return {**pair, "value": json_value(value.value)}


def _json_info(info: TensorInfo | None) -> dict[str, Any] | None:
    if info is None:
        return None
    return {"type": info.type.name, "shape": list(info.shape), "n_bytes": info.nbytes}


def _json_errors(errors: ErrorSums | None) -> dict[str, float] | None:
    return errors.as_dict() if errors is not None and _is_finite(errors) else None


def _is_finite(errors: ErrorSums) -> bool:
    return math.isfinite(errors.error2 + errors.source2 + errors.decoded2)


def _show(found: Difference) -> None:
    from ggufkit.cli import render

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


def metadata_rows(keys: tuple[KeyDifference, ...]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a line with - for A's value and one with + for B's."""
    for key in keys:
        shown = _shown_values(key.a, key.b)
        for sign, value, text in zip("-+", (key.a, key.b), shown, strict=True):
            if value is not None:
                yield sign, key.key, _type_text(value), text


def _type_text(value: TypedValue) -> str:
    count = f"[{len(value.value)}]" if isinstance(value.value, list) else ""
    return short_type(value.type.name) + count


def _shown_values(a: TypedValue | None, b: TypedValue | None) -> tuple[str, str]:
    """Show two values from a little before their first difference on."""
    x, y = (None if typed is None else typed.value for typed in (a, b))
    start = 0
    if isinstance(x, list) and isinstance(y, list):
        start = _first_difference(x, y)
    elif isinstance(x, str) and isinstance(y, str) and max(len(x), len(y)) > MAX_SHOWN:
        start = max(_first_difference(x, y) - _CONTEXT, 0)
    return _from(x, start), _from(y, start)


def _first_difference(x: Sequence[Any], y: Sequence[Any]) -> int:
    pairs = enumerate(zip(x, y, strict=False))
    return next((index for index, (i, j) in pairs if i != j), min(len(x), len(y)))


def _from(value: Any, start: int) -> str:
    if isinstance(value, list):
        if start and start == len(value):
            return "ends before the difference"
        shown = value[start : start + _ITEMS]
        text = ", ".join(
            json.dumps(item, ensure_ascii=False) if isinstance(item, str) else number_text(item)
            for item in shown
        )
        before = f"[{start}]: " if start else ""
        return _cut(before + text + (", ..." if len(value) > start + _ITEMS else ""))
    if isinstance(value, str):
        return _cut(f"... {value[start:]}" if start else value)
    return "" if value is None else number_text(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


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
