"""Transforms that choose rows of a tensor and put them in order; no weight changes.

Each is a function from rows of the result to rows of the source (`index`), next to its
inverse (`inverse_index`). Rows are counted as in `ggufkit.mapping.transforms`.

Some take rows whose neighbours go to other tensors of the file. To invert these takes all of them
together: `scatter` puts every part's rows where they were.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.mapping.transforms import (
    IDENTITY,
    ArraySource,
    Change,
    Factors,
    Floats,
    Shape,
    SingleSource,
    Sources,
    Transform,
    TransformedSource,
    n_rows,
    on_rows,
)

Index = NDArray[np.int64]

# Rows that are no further apart than this are read at once.
READ_GAP = 16


class RowGather(Transform):
    """Some rows of the source, or all of them in another order.

    Attributes
    ----------
    shares_rows : bool
        Whether the rows that are left out belong to other tensors of the file.
    """

    shares_rows: ClassVar[bool] = False

    @property
    def change(self) -> Change:
        """How much of a weight is changed."""
        return Change.ROWS

    @abstractmethod
    def index(self, source: Shape, rows: Index) -> Index:
        """Return the source's rows that are `rows` of the result."""

    @abstractmethod
    def inverse_index(self, source: Shape, rows: Index) -> Index:
        """Return the result's rows that are `rows` of the source, -1 for those left out."""

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape of the source of a result of the shape `made`; most keep it.

        Raises
        ------
        ShapeMismatchError
            There is no such result.
        """
        return made

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading little more than them."""
        return gather(sources, self.index(sources.shapes[0], np.arange(rows.start, rows.stop)))

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return what puts the rows back, if they are all rows of the source."""
        return scatter([self], [made])

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Choose rows of R."""
        return on_rows(self, factors)


def gather(sources: Sources, index: Index) -> Floats:
    """Return rows of the only source in any order, reading little more than them."""
    wanted = np.unique(index)
    # a read of a few rows more is cheaper than another read
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > READ_GAP) + 1)
    parts = [
        sources.read(slice(int(run[0]), int(run[-1]) + 1))[run - run[0]] for run in runs if run.size
    ]
    values = np.concatenate(parts) if parts else sources.read(slice(0, 0))
    return values[np.searchsorted(wanted, index)]


def scatter(
    parts: Sequence[RowGather], made: Sequence[Shape], after: Sequence[Transform] = ()
) -> ScatterRows:
    """Return the inverse of row transforms of the same tensor, whose rows they share out.

    Parameters
    ----------
    parts : sequence of RowGather
        The transforms.
    made : sequence of tuple of int
        The shape of the result of each.
    after : sequence of Transform, optional
        What leads to these results from the tensors of the file.

    Raises
    ------
    ShapeMismatchError
        The results are not parts of the same tensor.
    ConversionError
        Rows of the tensor are in none of them.
    """
    wholes = {part.inverse_shape(shape) for part, shape in zip(parts, made, strict=True)}
    if len(wholes) != 1:
        raise ShapeMismatchError(f"they are parts of tensors of different shapes, {wholes}")
    whole = wholes.pop()
    for part, shape in zip(parts, made, strict=True):
        if part.shape(whole) != shape:
            raise ShapeMismatchError(f"{shape} is no part of {whole}")
    if len(set(parts)) != len(parts) or sum(map(n_rows, made)) != n_rows(whole):
        raise ConversionError("the file does not have all parts of it")
    return ScatterRows(tuple(parts), whole, tuple(after))


@dataclass(frozen=True)
class ScatterRows(Transform):
    """Rows put where `parts` took them from; those that none took are zeros.

    Attributes
    ----------
    parts : tuple of RowGather
        What took the rows of each source.
    whole : tuple of int
        The shape of what they were taken from.
    before : tuple of Transform
        What is done with each source first; nothing if empty.
    """

    parts: tuple[RowGather, ...]
    whole: Shape
    before: tuple[Transform, ...] = ()
    no_inverse = "it is an inverse itself, of each of its parts"
    no_lora = "no checkpoint has adapters of parts"

    def shape(self, *_: Shape) -> Shape:
        """Return the shape of the whole."""
        return self.whole

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading little more than them."""
        index = np.arange(rows.start, rows.stop)
        cols = self.whole[1:][-1:]  # a vector has none
        values = np.zeros((len(index), *cols), np.float32)
        for number, part in enumerate(self.parts):
            before = self.before[number] if self.before else IDENTITY
            source = TransformedSource(SingleSource(sources, number), before)
            there = part.inverse_index(self.whole, index)
            taken = there >= 0
            if taken.any():
                values[taken] = gather(source, there[taken])
        return values


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

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go: those of the first half to even places."""
        head, row = np.divmod(rows, self.head_dim)
        second, pair = np.divmod(row, self.head_dim // 2)
        where: Index = head * self.head_dim + 2 * pair + second
        return where


@dataclass(frozen=True)
class PairsToHalves(RowGather):
    """Rows of a head from pairs (x0, y0, x1, y1, ...) to halves (x0, x1, ..., y0, y1, ...).

    llama.cpp rotates halves where positions have several dimensions (M-RoPE).

    Attributes
    ----------
    head_dim, rotated : int
        Rows per head, and how many of them are rotated; the others stay in their places.
    """

    head_dim: int
    rotated: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's, whose rows must be whole heads.

        Raises
        ------
        ShapeMismatchError
            They are not, or no pairs are rotated.
        """
        if self.rotated % 2 or not 0 <= self.rotated <= self.head_dim:
            raise ShapeMismatchError(f"{self.rotated} of {self.head_dim} rows are not in pairs")
        return PermuteRope(self.head_dim).shape(*sources)

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from: those of the first half from even places."""
        head, row = np.divmod(rows, self.head_dim)
        second, pair = np.divmod(row, max(self.rotated // 2, 1))
        return self._within(head, row, 2 * pair + second)

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go: even ones to the first half, odd ones to the second."""
        head, row = np.divmod(rows, self.head_dim)
        return self._within(head, row, row % 2 * (self.rotated // 2) + row // 2)

    def _within(self, head: Index, row: Index, moved: Index) -> Index:
        where: Index = head * self.head_dim + np.where(row < self.rotated, moved, row)
        return where


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

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return the rows, up to the last that is taken."""
        return np.where(rows < self.n_rows, rows, -1)

    def invert(self, _: Shape, __: int = 0, /) -> Transform:
        """Return the identity: nothing says how many rows were dropped."""
        return IDENTITY


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

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        return np.maximum(rows - self.n_rows, -1)

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape with the dropped rows."""
        return (made[0] + self.n_rows, *made[1:])

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return what puts zeros in front, since nothing says what was dropped."""
        return ScatterRows((self,), self.inverse_shape(made))


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
    shares_rows = True

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

    def inverse_index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        part = self._height(source) // self.of
        matrix, row = np.divmod(rows, part * self.of)
        number, row = np.divmod(row, part)
        return np.where(number == self.number, matrix * part + row, -1)

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape of all parts."""
        return (*made[:-2], self._height(made) * self.of, *made[1:][-1:])

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
    shares_rows = True

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

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        return np.where(rows % 2 == self.first, rows // 2, -1)

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape with twice the rows.

        Raises
        ------
        ShapeMismatchError
            There are no rows.
        """
        if len(made) < 2:
            raise ShapeMismatchError(f"{made} is not half of a matrix's rows")
        return (*made[:-2], 2 * made[-2], made[-1])


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
    shares_rows = True

    def shape(self, *sources: Shape) -> Shape:
        """Return (n_heads, stop - start, n_cols), or without `stack` the rows in one dimension.

        Raises
        ------
        ShapeMismatchError
            The rows are not whole heads.
        """
        height, cols = sources[0][0], sources[0][1:]
        n_dims = (2,) if self.stack else (1, 2)
        if len(sources[0]) not in n_dims or height % self.head_dim:
            raise ShapeMismatchError(f"{sources[0]} is not made of heads of {self.head_dim} rows")
        n_heads, taken = height // self.head_dim, self.stop - self.start
        return (n_heads, taken, *cols) if self.stack else (n_heads * taken, *cols)

    def index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        head, row = np.divmod(rows, self.stop - self.start)
        return head * self.head_dim + self.start + row

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        head, row = np.divmod(rows, self.head_dim)
        is_taken = (row >= self.start) & (row < self.stop)
        return np.where(is_taken, head * (self.stop - self.start) + row - self.start, -1)

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape of whole heads in one dimension.

        Raises
        ------
        ShapeMismatchError
            It is no stack of such heads, or not made of them.
        """
        taken = self.stop - self.start
        if not self.stack:
            if made[0] % taken:
                raise ShapeMismatchError(f"{made} is not made of heads of {taken} rows")
            return (made[0] // taken * self.head_dim, *made[1:])
        if len(made) < 2 or made[1] != taken:
            raise ShapeMismatchError(f"{made} is no stack of heads of {taken} rows")
        return (made[0] * self.head_dim, *made[2:])


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
    shares_rows = True

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
        where = np.empty_like(rows)
        for size, offset, start, stop in self._blocks(source):
            inside = (rows >= start) & (rows < stop)
            group, row = np.divmod(rows[inside] - start, size)
            where[inside] = group * sum(self.sizes) + offset + row
        return where

    def inverse_index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        where = np.full_like(rows, -1)
        group, row = np.divmod(rows, sum(self.sizes))
        for size, offset, start, _ in self._blocks(source):
            inside = (row >= offset) & (row < offset + size)
            where[inside] = start + group[inside] * size + row[inside] - offset
        return where

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape of whole groups.

        Raises
        ------
        ShapeMismatchError
            The rows are not these parts of groups.
        """
        taken = sum(self.sizes[part] for part in self.take)
        if made[0] % taken:
            raise ShapeMismatchError(f"{made} is not made of groups of {taken} rows")
        return (made[0] // taken * sum(self.sizes), *made[1:])

    def _blocks(self, source: Shape) -> Iterator[tuple[int, int, int, int]]:
        """Yield where each part is: one block of the result, a stretch of every group.

        Rows of it per group, the first of these in a group, the first and last + 1 in the result.
        """
        n_groups = source[0] // sum(self.sizes)
        start = 0
        for part in self.take:
            size = self.sizes[part]
            yield size, sum(self.sizes[:part]), start, start + n_groups * size
            start += n_groups * size


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

    def inverse_index(self, _: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        head, row = np.divmod(rows - self.start, self.head_dim)
        group, tile = np.divmod(head, self.per_group)
        grouped = self.start + (tile * self.n_groups + group) * self.head_dim + row
        return np.where(rows < self.start, rows, grouped)


@dataclass(frozen=True)
class Frame(RowGather):
    """One frame's filters of a convolution over two frames: (n, channels, 2, height, width)."""

    number: int
    shares_rows = True

    def shape(self, *sources: Shape) -> Shape:
        """Return the shape without the frames.

        Raises
        ------
        ShapeMismatchError
            It is no convolution over two frames.
        """
        source = sources[0]
        if len(source) != 5 or source[2] != 2:
            raise ShapeMismatchError(f"{source} is no convolution over two frames")
        return (*source[:2], *source[3:])

    def index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows come from."""
        channel, row = np.divmod(rows, source[3])
        return (2 * channel + self.number) * source[3] + row

    def inverse_index(self, source: Shape, rows: Index) -> Index:
        """Return where the rows go."""
        picture, row = np.divmod(rows, source[3])
        channel, number = np.divmod(picture, 2)
        return np.where(number == self.number, channel * source[3] + row, -1)

    def inverse_shape(self, made: Shape) -> Shape:
        """Return the shape with two frames."""
        return (*made[:2], 2, *made[2:])


@dataclass(frozen=True)
class _ColumnOrder(Transform):
    """The columns of a matrix, which are heads, in another order."""

    tiles: ReorderHeads

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's, whose columns must be the heads."""
        self.tiles.shape(sources[0][::-1])
        return sources[0]

    @abstractmethod
    def order(self, n_cols: int) -> Index:
        """Return the source's column for each of the result."""

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        return sources.read(rows)[:, self.order(sources.shapes[0][-1])]

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Order the columns of C."""
        rows, cols = factors[0]
        shape = self.shape(cols.shape)
        return rows, self.apply(ArraySource(cols), slice(0, n_rows(shape))).reshape(shape)


@dataclass(frozen=True)
class TileColumns(_ColumnOrder):
    """`ReorderHeads` for columns: the projection of linear attention's output."""

    def order(self, n_cols: int) -> Index:
        """Return where the columns come from."""
        return self.tiles.index((), np.arange(n_cols))

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return the order by groups."""
        return self._checked(ScatterColumns(self.tiles), made)


@dataclass(frozen=True)
class ScatterColumns(_ColumnOrder):
    """Columns in the order that they had before `TileColumns`."""

    def order(self, n_cols: int) -> Index:
        """Return where the columns come from."""
        return self.tiles.inverse_index((), np.arange(n_cols))

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return the order by tiles."""
        return self._checked(TileColumns(self.tiles), made)
