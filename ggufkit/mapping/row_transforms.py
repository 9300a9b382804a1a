"""Transforms that choose rows of a tensor and put them in order; no weight changes.

Each is a function from rows of the result to rows of the source. Rows are counted as in
`ggufkit.mapping.transforms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ggufkit.errors import ShapeMismatchError
from ggufkit.mapping.transforms import (
    Compose,
    Floats,
    Identity,
    Shape,
    Sources,
    StackExperts,
    Transform,
)

Index = NDArray[np.int64]

# Rows that are no further apart than this are read at once.
READ_GAP = 16


class RowGather(ABC):
    """Some rows of the source, or all of them in another order."""

    @abstractmethod
    def shape(self, *sources: Shape) -> Shape:
        """Return the shape made from a tensor of the shape `sources`."""

    @abstractmethod
    def index(self, source: Shape, rows: Index) -> Index:
        """Return the source's rows that are `rows` of the result."""

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading little more than them."""
        return gather(sources, self.index(sources.shapes[0], np.arange(rows.start, rows.stop)))


def gather(sources: Sources, index: Index, source: int = 0) -> Floats:
    """Return rows of one of the sources in any order, reading little more than them."""
    wanted = np.unique(index)
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > READ_GAP) + 1)
    parts = [
        sources.read(slice(int(run[0]), int(run[-1]) + 1), source)[run - run[0]]
        for run in runs
        if run.size
    ]
    values = np.concatenate(parts) if parts else sources.read(slice(0, 0), source)
    return values[np.searchsorted(wanted, index)]


def is_row_gather(transform: Transform) -> bool:
    """Whether a transform only moves whole rows, whatever they hold: weights, or blocks."""
    if isinstance(transform, Compose):
        return is_row_gather(transform.first) and is_row_gather(transform.second)
    return isinstance(transform, RowGather | StackExperts) or type(transform) is Identity


@dataclass(frozen=True)
class PermuteRope(RowGather):
    """Rows of a head from halves (x0, x1, ..., y0, y1, ...) to pairs (x0, y0, x1, y1, ...).

    transformers rotates the two halves of a head, llama.cpp's llama rotates neighbours.

    Attributes
    ----------
    head_dim : int
        Rows per head.
    """

    head_dim: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's, whose rows must be whole heads.

        Raises
        ------
        ShapeMismatchError
            They are not.
        """
        if not sources[0] or sources[0][0] % self.head_dim or self.head_dim % 2:
            raise ShapeMismatchError(f"{sources[0]} is not made of heads of {self.head_dim} rows")
        return sources[0]

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from: even ones from the first half, odd ones the second."""
        head, row = rows // self.head_dim, rows % self.head_dim
        half = self.head_dim // 2
        return head * self.head_dim + row % 2 * half + row // 2


@dataclass(frozen=True)
class TruncateRows(RowGather):
    """The first rows: embeddings beyond the vocabulary are dropped."""

    n_rows: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with at most `n_rows` rows."""
        return (min(sources[0][0], self.n_rows), *sources[0][1:])

    def index(self, _: Shape, rows: Index) -> Index:
        """Return the rows."""
        return rows


@dataclass(frozen=True)
class SkipRows(RowGather):
    """All but the first rows: position embeddings of padding."""

    n_rows: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with `n_rows` fewer rows.

        Raises
        ------
        ShapeMismatchError
            It has no more than these.
        """
        if sources[0][0] <= self.n_rows:
            raise ShapeMismatchError(f"{sources[0]} has no rows after the first {self.n_rows}")
        return (sources[0][0] - self.n_rows, *sources[0][1:])

    def index(self, _: Shape, rows: Index) -> Index:
        """Return the rows after the dropped ones."""
        return rows + self.n_rows


@dataclass(frozen=True)
class Chunk(RowGather):
    """One of the equal parts that a matrix, or each one of a stack, is made of.

    Attributes
    ----------
    number : int
        Which one.
    of : int
        How many there are.
    """

    number: int
    of: int = 2

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with a part's rows.

        Raises
        ------
        ShapeMismatchError
            The rows can't be divided.
        """
        height = self._height(sources[0])
        if height % self.of:
            raise ShapeMismatchError(f"{sources[0]} is not made of {self.of} parts")
        cols = sources[0][1:][-1:]  # a vector has none
        return (*sources[0][:-2], height // self.of, *cols)

    def index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        part = self._height(source) // self.of
        matrix, row = np.divmod(rows, part)
        return matrix * part * self.of + self.number * part + row

    def _height(self, source: Shape) -> int:
        return source[-2] if len(source) > 1 else source[0]


@dataclass(frozen=True)
class Deinterleave(RowGather):
    """Every other row of a matrix, or of each one of a stack: interleaved gates and ups.

    Attributes
    ----------
    first : {0, 1}
        The first row that is taken.
    """

    first: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with half of the rows.

        Raises
        ------
        ShapeMismatchError
            Their number is odd, or there are no rows.
        """
        source = sources[0]
        if len(source) < 2 or source[-2] % 2:
            raise ShapeMismatchError(f"{source} is not made of pairs of rows")
        return (*source[:-2], source[-2] // 2, source[-1])

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        return 2 * rows + self.first


@dataclass(frozen=True)
class SliceHeads(RowGather):
    """Some rows of every head, as a stack of one matrix per head, or as one tall matrix.

    Attributes
    ----------
    head_dim : int
        Rows per head, or per group of heads.
    start, stop : int
        The rows that are taken.
    stack : bool
        Whether the result has a dimension for heads.
    """

    head_dim: int
    start: int
    stop: int
    stack: bool = False

    def shape(self, *sources: Shape) -> Shape:
        """Return (n_heads, stop - start, n_cols), or without `stack` the rows in one dimension.

        Raises
        ------
        ShapeMismatchError
            The rows are not whole heads.
        """
        height, cols = sources[0][0], sources[0][1:]
        if len(sources[0]) > 2 or height % self.head_dim:
            raise ShapeMismatchError(f"{sources[0]} is not made of heads of {self.head_dim} rows")
        n_heads, taken = height // self.head_dim, self.stop - self.start
        return (n_heads, taken, *cols) if self.stack else (n_heads * taken, *cols)

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        head, row = np.divmod(rows, self.stop - self.start)
        return head * self.head_dim + self.start + row


@dataclass(frozen=True)
class UnfuseGroups(RowGather):
    """Rows of fused parts from groups (q q k v, q q k v) to one part after the other.

    Attributes
    ----------
    sizes : tuple of int
        Rows of each part in a group.
    take : tuple of int
        The parts to keep, in the order of the result.
    """

    sizes: tuple[int, ...]
    take: tuple[int, ...]

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with the rows of the parts.

        Raises
        ------
        ShapeMismatchError
            Its rows are not whole groups.
        """
        if len(sources[0]) not in (1, 2) or sources[0][0] % sum(self.sizes):
            raise ShapeMismatchError(f"{sources[0]} is not made of groups of {self.sizes} rows")
        taken = sum(self.sizes[part] for part in self.take)
        return (sources[0][0] // sum(self.sizes) * taken, *sources[0][1:])

    def index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        sizes = np.array([self.sizes[part] for part in self.take])
        offsets = np.array([sum(self.sizes[:part]) for part in self.take])
        lengths = sizes * (source[0] // sum(self.sizes))
        ends = np.cumsum(lengths)
        place = np.searchsorted(ends, rows, side="right")
        group, row = np.divmod(rows - (ends - lengths)[place], sizes[place])
        where: Index = group * sum(self.sizes) + offsets[place] + row
        return where


@dataclass(frozen=True)
class ReorderHeads(RowGather):
    """Heads from the order (a0 a1, b0 b1) of groups to the order (a0 b0, a1 b1) of tiles.

    Linear attention repeats each head of keys for the heads of values of its group; ggml repeats
    all of them one after the other.

    Attributes
    ----------
    n_groups, per_group : int
        Heads of keys, and heads of values for each.
    head_dim : int
        Rows per head of values.
    start : int
        The first row of them; rows before it stay.
    """

    n_groups: int
    per_group: int
    head_dim: int
    start: int = 0

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's.

        Raises
        ------
        ShapeMismatchError
            The rows are not these heads.
        """
        expected = self.start + self.n_groups * self.per_group * self.head_dim
        if sources[0][0] != expected:
            raise ShapeMismatchError(f"{sources[0]} has not the {expected} rows of its heads")
        return sources[0]

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        head, row = np.divmod(rows - self.start, self.head_dim)
        tile, group = np.divmod(head, self.n_groups)
        tiled = self.start + (group * self.per_group + tile) * self.head_dim + row
        return np.where(rows < self.start, rows, tiled)


@dataclass(frozen=True)
class TileColumns:
    """The same for columns, whose heads `tiles` describes: what comes after linear attention."""

    tiles: ReorderHeads

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's, whose columns must be the heads."""
        self.tiles.shape(sources[0][::-1])
        return sources[0]

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        columns = np.arange(sources.shapes[0][-1])
        return sources.read(rows)[:, self.tiles.index((), columns)]
