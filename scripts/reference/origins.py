"""Where the tensors of a GGUF file come from, found by comparing their values with a checkpoint's.

The weights of a tiny checkpoint are made from their names, so that no two rows are alike. A row of
the file therefore tells which row of the checkpoint it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Tensors = Mapping[str, np.ndarray]

_BLOCK = re.compile(r"^((?:enc\.|dec\.)?blk)\.(\d+)\.")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

#: What a converter may do to all values of a tensor. Each is tried where no row is found as it is.
CHANGES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": np.transpose,
    "first axes swapped": lambda values: np.swapaxes(values, 0, 1),
    "last axes swapped": lambda values: np.swapaxes(values, -1, -2),
    "one more: the file has x + 1": lambda values: values - np.float32(1),
    "negated": np.negative,
    "negative exponential: the file has -exp(x)": lambda values: np.log(-values),
}
_NEEDS_AXES = {"first axes swapped": 2, "last axes swapped": 3, "transposed": 2}


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from.

    Attributes
    ----------
    name : str
        In the GGUF file.
    sources : tuple of str
        The checkpoint's tensors, in the order in which their rows come; empty if none was found.
    how : str
        What was done to them: ``as it is``, ``stacked``, ``rows reordered``...
    """

    name: str
    sources: tuple[str, ...]
    how: str


class RowIndex:
    """The rows of a checkpoint's tensors, by their bytes."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.shapes = {name: values.shape for name, values in tensors.items()}
        self._rows: dict[bytes, tuple[str, int]] = {}
        self._whole: dict[bytes, str] = {}
        for name, values in tensors.items():
            self._whole.setdefault(values.tobytes(), name)
            for i, row in enumerate(_rows(values)):
                self._rows.setdefault(row.tobytes(), (name, i))

    def origin(self, name: str, values: np.ndarray) -> Origin:
        """Return where a tensor of the file comes from."""
        whole = self._whole.get(values.tobytes())
        if whole is not None:
            same = self.shapes[whole] == values.shape
            shape = list(self.shapes[whole])
            return Origin(name, (whole,), "as it is" if same else f"reshaped from {shape}")
        found = self._of_rows(name, values) or self._changed(name, values)
        return found or Origin(name, (), self._guess(values))

    def _of_rows(self, name: str, values: np.ndarray) -> Origin | None:
        places = [self._rows.get(row.tobytes()) for row in _rows(values)]
        if None in places or not places:
            return None
        rows = [place for place in places if place is not None]
        sources = tuple(dict.fromkeys(source for source, _ in rows))
        return Origin(name, sources, self._how(sources, rows, values.ndim))

    def _how(self, sources: Sequence[str], rows: list[tuple[str, int]], n_axes: int) -> str:
        counts = {source: len(_rows(self.tensors[source])) for source in sources}
        whole = [(source, i) for source in sources for i in range(counts[source])]
        if len(sources) > 1:
            if rows != whole:
                return "rows of several"
            return "stacked" if n_axes > len(self.shapes[sources[0]]) else "concatenated"
        numbers = [i for _, i in rows]
        n = counts[sources[0]]
        first, last = min(numbers), max(numbers)
        if numbers == list(range(first, last + 1)):
            return f"rows {first}..{last} of {n}"
        if sorted(numbers) == list(range(n)):
            return "rows reordered"
        return f"{len(numbers)} of {n} rows, the first are {numbers[:4]}"

    def _changed(self, name: str, values: np.ndarray) -> Origin | None:
        for change, undo in CHANGES.items():
            if values.ndim < _NEEDS_AXES.get(change, 0):
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                before = np.ascontiguousarray(undo(values), dtype=np.float32)
            whole = self._whole.get(before.tobytes())
            if whole is None and change in _ROUNDED:
                whole = self._close(before)
            if whole is not None:
                return Origin(name, (whole,), change)
            if found := self._of_rows(name, before):
                return Origin(name, found.sources, f"{change}, {found.how}")
        return None

    def _close(self, values: np.ndarray) -> str | None:
        """Return the tensor that has nearly these values."""
        for name, given in self.tensors.items():
            if given.size == values.size:
                flat, other = given.reshape(-1), values.reshape(-1)
                if np.allclose(flat, other, rtol=1e-5, atol=1e-7):
                    return name
        return None

    def _guess(self, values: np.ndarray) -> str:
        same = [name for name, given in self.tensors.items() if given.size == values.size]
        if not same:
            return "computed: no tensor of the checkpoint has as many values"
        return f"computed, perhaps from one with as many values: {', '.join(same[:3])}"


#: Changes that lose the last bits.
_ROUNDED = {name for name in CHANGES if name.startswith(("one", "negative"))}


def _rows(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)


@dataclass(frozen=True)
class Pattern:
    """The same origin in several blocks.

    Attributes
    ----------
    name : str
        In the file, ``{i}`` is the block.
    sources : tuple of str
        In the checkpoint, ``{i}`` is the block and ``{e}`` the expert.
    how : str
        See `Origin`.
    blocks : tuple of int
        Empty outside of blocks.
    example : str
        The first tensor's name.
    """

    name: str
    sources: tuple[str, ...]
    how: str
    blocks: tuple[int, ...]
    example: str


def patterns(origins: Iterable[Origin]) -> list[Pattern]:
    """Return origins with those of several blocks as one, in the order in which they come."""
    grouped: dict[tuple[str, tuple[str, ...], str], list[tuple[int, str]]] = {}
    for origin in origins:
        match = _BLOCK.match(origin.name)
        block = int(match[2]) if match else -1
        name = _BLOCK.sub(r"\1.{i}.", origin.name)
        key = (name, _generic(origin.sources, block), origin.how)
        grouped.setdefault(key, []).append((block, origin.name))
    return [
        Pattern(*key, tuple(block for block, _ in found if block >= 0), found[0][1])
        for key, found in grouped.items()
    ]


def _generic(sources: Sequence[str], block: int) -> tuple[str, ...]:
    """Return sources with ``{i}`` for the block; experts become one source with ``{e}``."""
    if len(sources) > 1:
        numbers = list(_differing(sources))
        if len(numbers) == 1:
            sources = (_numbered(sources[0], numbers[0], "{e}"),)
    if block < 0:
        return tuple(sources)
    return tuple(_with_block(source, block) for source in sources)


def _differing(names: Sequence[str]) -> Iterator[int]:
    """Yield which of the numbers in names differ, nothing where more than numbers does."""
    if len({_NUMBER.sub("0", name) for name in names}) == 1:
        columns = zip(*(_NUMBER.findall(name) for name in names), strict=True)
        yield from (i for i, column in enumerate(columns) if len(set(column)) > 1)


def _numbered(name: str, which: int, text: str) -> str:
    match = list(_NUMBER.finditer(name))[which]
    return name[: match.start()] + text + name[match.end() :]


def _with_block(name: str, block: int) -> str:
    for i, number in enumerate(_NUMBER.findall(name)):
        if int(number) == block:
            return _numbered(name, i, "{i}")
    return name
