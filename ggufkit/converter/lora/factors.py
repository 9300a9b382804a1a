"""What a transform of a weight means for the two factors of what is added to it.

For W + R @ C, rows of W are rows of R and columns of W are columns of C. So a transform that
chooses or multiplies rows is one of R alone; a transposition swaps the two; a stack has stacks of
both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.errors import ConversionError
from ggufkit.mapping.row_transforms import RowGather, TileColumns
from ggufkit.mapping.transforms import (
    Compose,
    Identity,
    PadRows,
    Reshape,
    Scale,
    ScaleParts,
    StackExperts,
    Transform,
    Transpose,
    n_rows,
)

Factors = tuple[Floats, Floats]


@dataclass(frozen=True)
class _Array:
    """An array as the source of a transform."""

    values: Floats

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.values.shape,)

    def read(self, rows: slice, _: int = 0) -> Floats:
        return self.values.reshape(-1, self.values.shape[-1])[rows]


def transformed(transform: Transform, parts: list[Factors]) -> Factors:
    """Return the factors of a transformed weight.

    Parameters
    ----------
    transform : Transform
        Of the weight.
    parts : list of (ndarray, ndarray)
        (n_rows, rank) and (rank, n_cols) of each source of the weight.

    Raises
    ------
    ConversionError
        The result is no product of two such factors.
    """
    return _apply(transform, parts)


@singledispatch
def _apply(transform: Transform, parts: list[Factors]) -> Factors:  # noqa: ARG001
    raise ConversionError(f"{type(transform).__name__} can't be applied to the parts of an adapter")


@_apply.register
def _identity(transform: Identity, parts: list[Factors]) -> Factors:
    if type(transform) is not Identity:  # those made of it change values
        raise ConversionError(f"{type(transform).__name__} changes weights, not their order")
    return parts[0]


@_apply.register
def _then(transform: Compose, parts: list[Factors]) -> Factors:
    return _apply(transform.second, [_apply(transform.first, parts)])


@_apply.register
def _transpose(_: Transpose, parts: list[Factors]) -> Factors:
    rows, cols = parts[0]
    return cols.swapaxes(-1, -2), rows.swapaxes(-1, -2)


@_apply.register
def _stack(_: StackExperts, parts: list[Factors]) -> Factors:
    if len({(rows.shape, cols.shape) for rows, cols in parts}) != 1:
        raise ConversionError("the experts of a block have adapters of different shapes")
    return np.stack([rows for rows, _ in parts]), np.stack([cols for _, cols in parts])


@_apply.register
def _columns(transform: TileColumns, parts: list[Factors]) -> Factors:
    rows, cols = parts[0]
    return rows, transform.apply(_Array(cols), slice(0, n_rows(cols.shape)))


@_apply.register(RowGather)
@_apply.register(PadRows)
@_apply.register(Reshape)
@_apply.register(Scale)
@_apply.register(ScaleParts)
def _rows(
    transform: RowGather | PadRows | Reshape | Scale | ScaleParts, parts: list[Factors]
) -> Factors:
    rows, cols = parts[0]
    if isinstance(transform, Reshape):
        transform = Reshape((*transform.to[:-1], rows.shape[-1]))
    shape = transform.shape(rows.shape)
    values = transform.apply(_Array(rows), slice(0, n_rows(shape))).reshape(shape)
    # the same columns for every matrix of what has become a stack
    return values, cols.reshape((1,) * (len(shape) - cols.ndim) + cols.shape)
