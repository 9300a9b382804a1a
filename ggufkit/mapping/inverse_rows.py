"""The way back of transforms that choose rows: where a row of the source went.

For every kind of `ggufkit.mapping.row_transforms.RowGather` two functions: the shape of the source,
given that of the result; and for rows of the source, the rows of the result that they became, -1
for those that were left out. `SkipRows` and `TruncateRows` say nothing about what they left out.
"""

from __future__ import annotations

from functools import singledispatch
from math import prod

import numpy as np

from ggufkit.errors import ShapeMismatchError
from ggufkit.mapping.row_transforms import (
    Chunk,
    Deinterleave,
    Index,
    PermuteRope,
    ReorderHeads,
    RowGather,
    SkipRows,
    SliceHeads,
    TruncateRows,
    UnfuseGroups,
)
from ggufkit.mapping.transforms import Shape


def trimmed(shape: Shape) -> Shape:
    """Return a shape without ones in front, which quantized files do not have."""
    return trimmed(shape[1:]) if len(shape) > 1 and shape[0] == 1 else shape


@singledispatch
def source_shape(transform: RowGather, made: Shape) -> Shape:
    """Return the shape of what a transform made `made` of; most keep it.

    Raises
    ------
    ShapeMismatchError
        It makes no such shape.
    """
    del transform
    return made


@singledispatch
def place(transform: RowGather, source: Shape, rows: Index) -> Index:
    """Return the rows of the result that rows of the source became, or -1."""
    raise NotImplementedError(f"no way back for {type(transform).__name__}")


@place.register
def _(transform: PermuteRope, source: Shape, rows: Index) -> Index:
    del source
    head, row = np.divmod(rows, transform.head_dim)
    second, pair = np.divmod(row, transform.head_dim // 2)
    where: Index = head * transform.head_dim + 2 * pair + second
    return where


@place.register
def _(transform: TruncateRows, source: Shape, rows: Index) -> Index:
    del source
    return np.where(rows < transform.n_rows, rows, -1)


@source_shape.register
def _(transform: SkipRows, made: Shape) -> Shape:
    return (made[0] + transform.n_rows, *made[1:])


@place.register
def _(transform: SkipRows, source: Shape, rows: Index) -> Index:
    del source
    return np.maximum(rows - transform.n_rows, -1)


@source_shape.register
def _(transform: Chunk, made: Shape) -> Shape:
    height, cols = (made[-2], made[-1:]) if len(made) > 1 else (made[0], ())
    return (*made[:-2], height * transform.of, *cols)


@place.register
def _(transform: Chunk, source: Shape, rows: Index) -> Index:
    part = (source[-2] if len(source) > 1 else source[0]) // transform.of
    matrix, row = np.divmod(rows, part * transform.of)
    number, row = np.divmod(row, part)
    return np.where(number == transform.number, matrix * part + row, -1)


@source_shape.register
def _(transform: Deinterleave, made: Shape) -> Shape:
    del transform
    if len(made) < 2:
        raise ShapeMismatchError(f"{made} is not half of a matrix's rows")
    return (*made[:-2], 2 * made[-2], made[-1])


@place.register
def _(transform: Deinterleave, source: Shape, rows: Index) -> Index:
    del source
    return np.where(rows % 2 == transform.first, rows // 2, -1)


@source_shape.register
def _(transform: SliceHeads, made: Shape) -> Shape:
    taken = transform.stop - transform.start
    if transform.stack:
        if len(made) < 2 or made[1] != taken:
            raise ShapeMismatchError(f"{made} is no stack of heads of {taken} rows")
        return (made[0] * transform.head_dim, *made[2:])
    if made[0] % taken:
        raise ShapeMismatchError(f"{made} is not made of heads of {taken} rows")
    return (made[0] // taken * transform.head_dim, *made[1:])


@place.register
def _(transform: SliceHeads, source: Shape, rows: Index) -> Index:
    del source
    head, row = np.divmod(rows, transform.head_dim)
    taken = (row >= transform.start) & (row < transform.stop)
    there = head * (transform.stop - transform.start) + row - transform.start
    return np.where(taken, there, -1)


@source_shape.register
def _(transform: UnfuseGroups, made: Shape) -> Shape:
    taken = sum(transform.sizes[part] for part in transform.take)
    if made[0] % taken:
        raise ShapeMismatchError(f"{made} is not made of groups of {taken} rows")
    return (made[0] // taken * sum(transform.sizes), *made[1:])


@place.register
def _(transform: UnfuseGroups, source: Shape, rows: Index) -> Index:
    n_groups = source[0] // sum(transform.sizes)
    ends = np.cumsum(transform.sizes)
    group, row = np.divmod(rows, sum(transform.sizes))
    part = np.searchsorted(ends, row, side="right")
    sizes = np.array(transform.sizes)
    starts = np.full(len(sizes), -1)  # of each part in the result
    at = 0
    for taken in transform.take:
        starts[taken] = at
        at += transform.sizes[taken] * n_groups
    there = starts[part] + group * sizes[part] + row - (ends - sizes)[part]
    return np.where(starts[part] < 0, -1, there)


@place.register
def _(transform: ReorderHeads, source: Shape, rows: Index) -> Index:
    del source
    head, row = np.divmod(rows - transform.start, transform.head_dim)
    group, tile = np.divmod(head, transform.per_group)
    there = transform.start + (tile * transform.n_groups + group) * transform.head_dim + row
    return np.where(rows < transform.start, rows, there)


def n_taken(transform: RowGather, source: Shape) -> int:
    """Return how many rows of the source are in the result."""
    made = transform.shape(source)
    return prod(made[:-1]) if len(source) > 1 else prod(made)
