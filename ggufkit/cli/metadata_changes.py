"""Differences of metadata, as `diff`, `edit` and `verify` show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ggufkit.cli.metadata_values import (
    MAX_SHOWN,
    N_ITEMS,
    items_text,
    number_text,
    short_type,
    shorten,
)

if TYPE_CHECKING:
    from ggufkit.toolbox.diff import KeyDifference, TypedValue

_CONTEXT = 16  # characters shown before the first difference of long texts


def json_keys(keys: tuple[KeyDifference, ...]) -> list[dict[str, Any]]:
    """Return differences of metadata, ready for `json.dump`."""
    return [{"key": k.key, "a": _json_typed(k.a), "b": _json_typed(k.b)} for k in keys]


def _json_typed(value: TypedValue | None) -> dict[str, Any] | None:
    if value is None:
        return None
    name = value.type.name
    kind = {"type": "ARRAY", "items": name} if value.is_array else {"type": name}
    return {**kind, "value": value.value}


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
        before = f"[{start}]: " if start else ""
        after = ", ..." if len(value) > start + N_ITEMS else ""
        return shorten(before + items_text(value[start : start + N_ITEMS]) + after)
    if isinstance(value, str):
        return shorten(f"... {value[start:]}" if start else value)
    return "" if value is None else number_text(value)
