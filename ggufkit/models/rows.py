"""Transforms that choose rows of a tensor and put them in order; no weight changes.

Each is a function from rows of the result to rows of the source. Rows are counted as in
`ggufkit.models.transforms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ggufkit.errors import ShapeMismatchError
from ggufkit.models.transforms import Floats, Shape, Sources, n_rows

Index = NDArray[np.int64]

# Rows that are no further apart than this are read at once.
READ_GAP = 16


class TakeRows(ABC):
    """Some rows of the source, or all of them in another order."""

    @abstractmethod
    def shape(self, *sources: Shape) -> Shape:
        """Return the shape made from a tensor of the shape `sources`."""

    @abstractmethod
    def index(self, source: Shape, rows: Index) -> Index:
        """Return the source's rows that are `rows` of the result."""

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading little more than them."""
        index = self.index(sources.shapes[0], np.arange(rows.start, rows.stop))
        wanted = np.unique(index)
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > READ_GAP) + 1)
        parts = [
            sources.read(slice(int(run[0]), int(run[-1]) + 1))[run - run[0]]
            for run in runs
            if run.size
        ]
        values = np.concatenate(parts) if parts else sources.read(slice(0, 0))
        return values[np.searchsorted(wanted, index)]


@dataclass(frozen=True)
class PermuteRope(TakeRows):
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
class KeepRows(TakeRows):
    """The first rows: embeddings beyond the vocabulary are dropped."""

    n_rows: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with at most `n_rows` rows."""
        return (min(sources[0][0], self.n_rows), *sources[0][1:])

    def index(self, _: Shape, rows: Index) -> Index:
        """Return the rows."""
        return rows


@dataclass(frozen=True)
class DropRows(TakeRows):
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
class Part(TakeRows):
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
class EveryOther(TakeRows):
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
class HeadRows(TakeRows):
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
class RegroupQKV(TakeRows):
    """Fused queries, keys and values, from groups (q q k v, q q k v) to (q q q q, k k, v v).

    Attributes
    ----------
    n_heads, n_heads_kv : int
        Heads of queries, and of keys and of values: one group each.
    """

    n_heads: int
    n_heads_kv: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's.

        Raises
        ------
        ShapeMismatchError
            Its rows are not these heads.
        """
        heads = self.n_heads + 2 * self.n_heads_kv
        if sources[0][0] % heads or self.n_heads % self.n_heads_kv:
            raise ShapeMismatchError(
                f"{sources[0]} is not made of {self.n_heads} heads of queries and "
                f"{self.n_heads_kv} of keys and values each"
            )
        return sources[0]

    def index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        head_dim = n_rows(source) // (self.n_heads + 2 * self.n_heads_kv)
        per_group = self.n_heads // self.n_heads_kv
        head, row = np.divmod(rows, head_dim)
        kv, in_values = head - self.n_heads, head - self.n_heads >= self.n_heads_kv
        of_q = head // per_group * (per_group + 2) + head % per_group
        of_kv = kv % self.n_heads_kv * (per_group + 2) + per_group + in_values
        return np.where(kv < 0, of_q, of_kv) * head_dim + row
