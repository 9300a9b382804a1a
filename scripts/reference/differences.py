"""Every difference between two GGUF files, as `reference.case.describe` describes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

Rows = Sequence[Sequence[Any]]
Explain = Callable[[str], str]
_MAX_LENGTH = 120


def differences(
    theirs: Mapping[str, Rows], ours: Mapping[str, Rows], explain: Explain = lambda _: ""
) -> list[str]:
    """Return a line for every difference, in the order of llama.cpp's file.

    Parameters
    ----------
    theirs, ours : mapping
        What llama.cpp's converter and ggufkit wrote: ``metadata`` with key, type and value,
        ``tensors`` with name, shape, type and a digest of the data.
    explain : callable
        From the name of a tensor whose data differ to how.
    """
    elsewhere = {row[3]: row[0] for row in theirs["tensors"]}
    return [
        *_compared("key", theirs["metadata"], ours["metadata"], _metadata_entry),
        *_compared("tensor", theirs["tensors"], ours["tensors"], _tensor_entry(explain, elsewhere)),
    ]


Compare = Callable[[Sequence[Any], Sequence[Any]], Iterator[str]]


def _compared(kind: str, theirs: Rows, ours: Rows, compare: Compare) -> Iterator[str]:
    """Yield what is missing, extra, moved or different, of rows that start with a name."""
    names, our_names = [row[0] for row in theirs], [row[0] for row in ours]
    entries = {row[0]: row for row in ours}
    moved = _moved(names, our_names)
    for row in theirs:
        name = row[0]
        if name not in entries:
            yield f"{kind} missing: {_shown(row)}, {_place(names, name)}"
            continue
        if name in moved:
            here, there = _place(our_names, name), _place(names, name)
            yield f"{kind} moved: {name} is {here}, llama.cpp has it {there}"
        yield from (f"{kind} {line}" for line in compare(row, entries[name]))
    for row in ours:
        if row[0] not in names:
            yield f"{kind} extra: {_shown(row)}, {_place(our_names, row[0])}"


def _moved(theirs: list[str], ours: list[str]) -> set[str]:
    """Return the fewest names of both lists without which both have the same order."""
    common = set(theirs) & set(ours)
    first, second = ([n for n in names if n in common] for names in (theirs, ours))
    blocks = SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
    kept = {name for block in blocks for name in first[block.a : block.a + block.size]}
    return common - kept


def _place(names: list[str], name: str) -> str:
    i = names.index(name)
    return f"after {names[i - 1]}" if i else "first"


def _shown(row: Sequence[Any]) -> str:
    name, second, third = row[:3]
    if len(row) == 3:  # metadata
        return f"{name} = {_short(third)} ({second})"
    return f"{name} {third} {second}"


def _metadata_entry(theirs: Sequence[Any], ours: Sequence[Any]) -> Iterator[str]:
    key, kind, value = theirs
    if ours[1] != kind:
        yield f"type: {key} is {ours[1]}, llama.cpp writes {kind}"
    if ours[2] != value:
        yield f"value: {key} is {_short(ours[2])}, llama.cpp writes {_short(value)}"


def _tensor_entry(explain: Explain, elsewhere: Mapping[str, str]) -> Compare:
    def compare(theirs: Sequence[Any], ours: Sequence[Any]) -> Iterator[str]:
        name, shape, kind, digest = theirs
        if list(ours[1]) != list(shape):
            yield f"shape: {name} is {ours[1]}, llama.cpp writes {shape}"
        if ours[2] != kind:
            yield f"type: {name} is {ours[2]}, llama.cpp writes {kind}"
        if (ours[1], ours[2]) == (shape, kind) and ours[3] != digest:
            other = elsewhere.get(ours[3])
            how = f": llama.cpp writes the same as {other}" if other else explain(name)
            yield f"data: {name} differs{how}"

    return compare


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}... ({len(text)} characters)"


def data_difference(theirs: np.ndarray, ours: np.ndarray) -> str:
    """Say how the values of two tensors of one shape differ.

    Examples
    --------
    >>> data_difference(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[3.0, 4.0], [1.0, 2.0]]))
    ': the same rows in another order'
    """
    different = theirs != ours
    n = int(different.sum())
    if n == 0:
        return ": the values are the same, their bytes are not"
    width = theirs.shape[-1] if theirs.ndim else 1
    if theirs.ndim > 1 and _sorted(theirs, width) == _sorted(ours, width):
        return ": the same rows in another order"
    place = tuple(int(i[0]) for i in np.nonzero(different))
    at = f"{list(place)}: {ours[place]:.6g}, llama.cpp has {theirs[place]:.6g}"
    gap = float(np.abs(theirs.astype(np.float64) - ours)[different].max())
    return f": {n} of {theirs.size} values, by up to {gap:.3g}, first at {at}"


def _sorted(values: np.ndarray, width: int) -> list[bytes]:
    return sorted(row.tobytes() for row in values.reshape(-1, width))
