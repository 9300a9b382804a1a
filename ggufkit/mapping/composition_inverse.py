"""The way back of transforms: from tensors of a GGUF file to one of a checkpoint.

A weight's transform is a chain. Steps that change each value for itself (`AddOne`,
`NegativeExp`) are taken out of it, see `Arithmetic`: they are undone last, when the type of the
result is known. Of the others at most one takes a part of the rows; the parts of one tensor are
undone up to there, put together, and the steps before it, which must be common to all, are undone.

Every step back is a transform again, so that rows stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.mapping.inverse_rows import n_taken, place, source_shape, trimmed
from ggufkit.mapping.row_transforms import (
    Chunk,
    Deinterleave,
    RowGather,
    SliceHeads,
    TileColumns,
    TruncateRows,
    UnfuseGroups,
    gather,
)
from ggufkit.mapping.transforms import (
    IDENTITY,
    AddOne,
    Compose,
    Floats,
    NegativeExp,
    Oriented,
    PadRows,
    Reshape,
    Shape,
    Sources,
    Squeeze,
    StackExperts,
    Transform,
    Transpose,
    n_rows,
)

Arithmetic = AddOne | NegativeExp


@dataclass(frozen=True)
class Inverse:
    """The way back to one tensor of a checkpoint.

    Attributes
    ----------
    transform : Transform
        From the file's tensors to it, but for its values.
    shape : tuple of int
        What that makes.
    arithmetic : AddOne, NegativeExp or None
        What the values still have to be undone of.
    """

    transform: Transform
    shape: Shape
    arithmetic: Arithmetic | None = None


def invert(transforms: Sequence[Transform], made: Sequence[Shape], expert: int = 0) -> Inverse:
    """Return the way from tensors of the shapes `made` to the tensor that they were made of.

    Parameters
    ----------
    transforms : sequence of Transform
        What made each of them.
    made : sequence of tuple of int
        Their shapes.
    expert : int
        The number of the tensor, where a stack was made of several.

    Raises
    ------
    ShapeMismatchError
        The transforms make no such shapes, or parts of different tensors.
    ConversionError
        Rows of the tensor are in none of them.
    """
    chains = [_chain(transform) for transform in transforms]
    found = {step for chain in chains for step in chain if isinstance(step, Arithmetic)}
    chains = [[step for step in chain if not isinstance(step, Arithmetic)] for chain in chains]
    if len(chains) == 1 and not any(isinstance(step, _PARTIAL) for step in chains[0]):
        transform, shape = _undo(chains[0], made[0], expert)
    else:
        transform, shape = _joined(chains, made)
    return Inverse(transform, shape, next(iter(found), None))


# Steps that leave rows to others.
_PARTIAL = (Chunk, Deinterleave, SliceHeads, UnfuseGroups)


def _chain(transform: Transform) -> list[Transform]:
    if isinstance(transform, Compose):
        return [*_chain(transform.first), *_chain(transform.second)]
    # what was padded or dropped is not known: the rows that are there are the tensor
    return (
        []
        if transform == IDENTITY or isinstance(transform, PadRows | TruncateRows)
        else [transform]
    )


def _joined(chains: Sequence[list[Transform]], made: Sequence[Shape]) -> tuple[Transform, Shape]:
    """Return the way back to what several tensors are parts of."""
    places = [
        next((i for i, step in enumerate(chain) if isinstance(step, _PARTIAL)), None)
        for chain in chains
    ]
    if None in places:
        raise ShapeMismatchError("a tensor can't be both whole and in parts")
    common = {tuple(chain[:at]) for chain, at in zip(chains, places, strict=True)}
    parts, before, shapes = [], [], []
    for chain, at, shape in zip(chains, places, made, strict=True):
        step = chain[at or 0]
        if not isinstance(step, RowGather):
            raise TypeError(step)
        undone, taken = _undo(chain[(at or 0) + 1 :], shape)
        parts.append(step)
        before.append(undone)
        whole = source_shape(step, taken)
        if step.shape(whole) != taken:
            raise ShapeMismatchError(f"{taken} is no part of {whole}")
        shapes.append(whole)
    if len(set(shapes)) != 1 or len(common) != 1:
        raise ShapeMismatchError(f"they are parts of tensors of different shapes, {set(shapes)}")
    n_rows_taken = sum(n_taken(part, whole) for part in set(parts))
    if len(set(parts)) != len(parts) or n_rows_taken != n_rows(whole):
        raise ConversionError("the file does not have all parts of it")
    first, shape = _undo(list(common.pop()), whole)
    join = Put(tuple(parts), whole, tuple(before))
    return (join if first == IDENTITY else Compose(join, first)), shape


def _undo(chain: Sequence[Transform], shape: Shape, expert: int = 0) -> tuple[Transform, Shape]:
    """Return the way back of steps none of which takes a part, and the shape it makes."""
    result: Transform = IDENTITY
    for step in reversed(chain):
        undone, shape = _undo_step(step, shape, expert)
        result = undone if result == IDENTITY else Compose(result, undone)
    return result, shape


def _undo_step(step: Transform, made: Shape, expert: int) -> tuple[Transform, Shape]:
    if isinstance(step, StackExperts):
        return Pick(expert), Pick(expert).shape(made)
    undone: Transform
    if isinstance(step, Transpose):
        source, undone = step.shape(made), step
    elif isinstance(step, Oriented):  # published checkpoints hold them transposed
        source, undone = Transpose().shape(made), Transpose()
    elif isinstance(step, Squeeze):
        source = (*made[:-1], 1, made[-1])
        undone = See(source)
    elif isinstance(step, Reshape):
        # a stack was one tall matrix, a matrix was a vector
        source = (prod(made[:-1]), made[-1]) if len(made) > 2 else (prod(made),)
        undone = See(source)
    elif isinstance(step, TileColumns):
        source, undone = made, PutColumns(step)
    elif isinstance(step, RowGather):
        source = source_shape(step, made)
        undone = Put((step,), source)
    else:
        raise ConversionError(f"{type(step).__name__} has no way back")
    if trimmed(step.shape(source)) != trimmed(made):
        raise ShapeMismatchError(f"{made} can't come from {source}")
    return undone, source


@dataclass(frozen=True)
class Pick:
    """One matrix of a stack, or one row of a matrix as a vector."""

    number: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's without its first dimension.

        Raises
        ------
        ShapeMismatchError
            It has no such matrix.
        """
        if len(sources[0]) < 2 or not 0 <= self.number < sources[0][0]:
            raise ShapeMismatchError(f"{sources[0]} has no part {self.number}")
        return sources[0][1:]

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        shape = self.shape(*sources.shapes)
        if len(shape) < 2:
            return sources.read(slice(self.number, self.number + 1)).reshape(-1)[rows]
        start = self.number * n_rows(shape)
        return sources.read(slice(start + rows.start, start + rows.stop))


@dataclass(frozen=True)
class See:
    """The same weights in another shape: rows of the same length, or a vector of all of them."""

    to: Shape

    def shape(self, *sources: Shape) -> Shape:
        """Return the new shape."""
        del sources
        return self.to

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        source = sources.shapes[0]
        if len(self.to) > 1 or len(source) < 2:
            return sources.read(rows)
        width = source[-1]
        first, last = rows.start // width, -(-rows.stop // width)
        values = sources.read(slice(first, last)).reshape(-1)
        return values[rows.start - first * width : rows.stop - first * width]


@dataclass(frozen=True)
class Put:
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

    def shape(self, *sources: Shape) -> Shape:
        """Return the shape of the whole."""
        del sources
        return self.whole

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading little more than them."""
        index = np.arange(rows.start, rows.stop)
        cols = self.whole[1:][-1:]  # a vector has none
        values = np.zeros((len(index), *cols), np.float32)
        for number, part in enumerate(self.parts):
            source = _Source(sources, number, self.before[number] if self.before else IDENTITY)
            there = place(part, self.whole, index)
            taken = there >= 0
            if taken.any():
                values[taken] = gather(source, there[taken])
        return values


@dataclass(frozen=True)
class PutColumns:
    """Columns in the order that they had before `TileColumns`."""

    tiled: TileColumns

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's."""
        return self.tiled.shape(*sources)

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        columns = np.arange(sources.shapes[0][-1])
        return sources.read(rows)[:, place(self.tiled.tiles, (), columns)]


@dataclass(frozen=True)
class _Source:
    """One of several sources, after a transform, as the only one."""

    sources: Sources
    number: int
    transform: Transform

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.transform.shape(self.sources.shapes[self.number]),)

    def read(self, rows: slice, _: int = 0) -> Floats:
        return self.transform.apply(_Only(self.sources, self.number), rows)


@dataclass(frozen=True)
class _Only:
    """One of several sources."""

    sources: Sources
    number: int

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.sources.shapes[self.number],)

    def read(self, rows: slice, _: int = 0) -> Floats:
        return self.sources.read(rows, self.number)
