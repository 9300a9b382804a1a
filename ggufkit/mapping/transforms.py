"""What converters do to weights between a checkpoint and a GGUF file.

A transform says the shape it makes and computes any range of rows of it, so that tensors stream.
Rows are counted over all leading dimensions; the rows of a vector are its elements. So a stack
of matrices is one tall matrix, and a bias is treated like the matrix whose rows it goes with.

Those that only choose and order rows are in `ggufkit.mapping.row_transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from ggufkit.arrays import Floats as Floats
from ggufkit.errors import ShapeMismatchError
from ggufkit.types import Shape as Shape


def n_rows(shape: Shape) -> int:
    """Return the rows of a tensor; a vector's are its elements."""
    return prod(shape[:-1]) if len(shape) > 1 else prod(shape)


class Sources(Protocol):
    """The checkpoint's tensors that a transform reads."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Their shapes."""

    def read(self, rows: slice, source: int = 0) -> Floats:
        """Return rows of one of them: (n_rows, n_cols), or (n_rows,) of a vector."""


class Transform(Protocol):
    """From tensors of a checkpoint to one of a GGUF file."""

    def shape(self, *sources: Shape) -> Shape:
        """Return the shape made from tensors of the shapes `sources`.

        Raises
        ------
        ShapeMismatchError
            They do not fit.
        """

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Compute `rows` of the result, reading only what they need."""


@dataclass(frozen=True)
class Identity:
    """The tensor as it is."""

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's."""
        return sources[0]

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        return sources.read(rows)


IDENTITY = Identity()


@dataclass(frozen=True)
class AddOne(Identity):
    """Norms that the checkpoint stores as their difference from one."""

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows plus one."""
        return sources.read(rows) + np.float32(1)


@dataclass(frozen=True)
class Scale(Identity):
    """The tensor times numbers, one after the other, each product rounded to float32."""

    factors: tuple[float, ...]

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the products."""
        values = sources.read(rows)
        for factor in self.factors:
            values = values * np.float32(factor)
        return values


@dataclass(frozen=True)
class ScaleParts(Identity):
    """A matrix whose parts are multiplied by numbers of their own.

    Attributes
    ----------
    parts : tuple of (int, float)
        Rows of each part, from the first row on, and its factor.
    """

    parts: tuple[tuple[int, float], ...]

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's.

        Raises
        ------
        ShapeMismatchError
            The parts have other rows altogether.
        """
        total = sum(height for height, _ in self.parts)
        if total != n_rows(sources[0]):
            raise ShapeMismatchError(f"{sources[0]} is not made of parts of {total} rows")
        return sources[0]

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the products."""
        heights, factors = zip(*self.parts, strict=True)
        by_row = np.repeat(np.array(factors, np.float32), heights)[rows]
        values = sources.read(rows)
        return values * by_row.reshape(-1, *(1,) * (values.ndim - 1))


@dataclass(frozen=True)
class NegativeExp(Identity):
    """State-space decays that the checkpoint stores as logarithms: -exp(x), rounded correctly.

    torch's exp, and so llama.cpp's converter, is off by one unit in the last place for some
    values, which ones depending on the processor.
    """

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows' decays."""
        return -np.exp(sources.read(rows).astype(np.float64)).astype(np.float32)


@dataclass(frozen=True)
class Reshape(Identity):
    """The same weights in another shape.

    Attributes
    ----------
    to : tuple of int
        The new shape; one -1 stands for what is left. A vector can become a matrix; anything
        else keeps its last dimension.
    """

    to: Shape

    def shape(self, *sources: Shape) -> Shape:
        """Return the new shape.

        Raises
        ------
        ShapeMismatchError
            It has another number of weights, or of weights per row.
        """
        known = prod(n for n in self.to if n != -1)
        made = tuple(prod(sources[0]) // known if n == -1 else n for n in self.to)
        same_rows = len(sources[0]) == 1 or made[-1] == sources[0][-1]
        if prod(made) != prod(sources[0]) or not same_rows:
            raise ShapeMismatchError(f"{sources[0]} can't be seen as {self.to}")
        return made

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        source = sources.shapes[0]
        made = self.shape(source)
        if len(source) > 1 or len(made) == 1:
            return sources.read(rows)
        width = made[-1]
        return sources.read(slice(rows.start * width, rows.stop * width)).reshape(-1, width)


@dataclass(frozen=True)
class PadRows:
    """The tensor with rows of zeros after its own: embeddings of tokens that need none.

    Attributes
    ----------
    n_rows : int
        The rows of the result, unless the source has more.
    """

    n_rows: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with at least `n_rows` rows."""
        return (max(sources[0][0], self.n_rows), *sources[0][1:])

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading those that the source has."""
        last = sources.shapes[0][0]
        given = sources.read(slice(min(rows.start, last), min(rows.stop, last)))
        zeros = np.zeros((rows.stop - rows.start - len(given), *given.shape[1:]), np.float32)
        return np.concatenate([given, zeros])


@dataclass(frozen=True)
class Squeeze(Identity):
    """The same weights without the dimension before the last, which is 1: convolutions."""

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's without it.

        Raises
        ------
        ShapeMismatchError
            It is not 1.
        """
        source = sources[0]
        if len(source) < 2 or source[-2] != 1:
            raise ShapeMismatchError(f"{source} is no convolution of single channels")
        return (*source[:-2], source[-1])


@dataclass(frozen=True)
class Transpose:
    """Every matrix with its rows as columns; a vector as it is.

    A row of the result is a column of the source, so whole matrices are read for any of them.
    """

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's with its last two dimensions swapped."""
        source = sources[0]
        return (*source[:-2], *source[:-3:-1]) if len(source) > 1 else source

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, matrix by matrix."""
        if len(sources.shapes[0]) < 2:
            return sources.read(rows)
        height, width = sources.shapes[0][-2:]
        return np.concatenate(
            [
                sources.read(slice(matrix * height, (matrix + 1) * height)).T[part]
                for matrix, part in _pieces(rows, width)
            ]
        )


@dataclass(frozen=True)
class Oriented:
    """Matrices of a known shape, which some checkpoints hold transposed.

    Attributes
    ----------
    height, width : int
        Of each matrix of the result. Where they are equal, nothing says which of the two layouts
        a checkpoint has, and it is transposed.
    """

    height: int
    width: int

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's, or with its last two dimensions swapped."""
        return self._of(sources[0]).shape(*sources)

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, of whichever layout."""
        return self._of(sources.shapes[0]).apply(sources, rows)

    def _of(self, source: Shape) -> Transform:
        is_upright = source[-2:] == (self.height, self.width) != (self.width, self.height)
        return IDENTITY if is_upright else Transpose()


@dataclass(frozen=True)
class StackExperts:
    """One tensor per expert, stacked along a new first dimension."""

    def shape(self, *sources: Shape) -> Shape:
        """Return (n_experts, ...).

        Raises
        ------
        ShapeMismatchError
            The experts differ.
        """
        if len(set(sources)) != 1:
            raise ShapeMismatchError(f"experts differ in shape: {sorted(set(sources))}")
        return (len(sources), *sources[0])

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows, reading only the experts that they belong to."""
        shape = sources.shapes[0]
        if len(shape) < 2:  # a row of the result is a whole vector
            whole = slice(0, n_rows(shape))
            return np.stack([sources.read(whole, e) for e in range(rows.start, rows.stop)])
        return np.concatenate(
            [sources.read(part, expert) for expert, part in _pieces(rows, n_rows(shape))]
        )


@dataclass(frozen=True)
class Compose:
    """One transform after the other."""

    first: Transform
    second: Transform

    def shape(self, *sources: Shape) -> Shape:
        """Return the second's shape of the first's."""
        return self.second.shape(self.first.shape(*sources))

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the second's rows of what the first makes."""
        return self.second.apply(_Transformed(sources, self.first), rows)


@dataclass(frozen=True)
class _Transformed:
    """The result of a transform, as the source of the next."""

    sources: Sources
    transform: Transform

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.transform.shape(*self.sources.shapes),)

    def read(self, rows: slice, _: int = 0) -> Floats:
        return self.transform.apply(self.sources, rows)


def _pieces(rows: slice, height: int) -> list[tuple[int, slice]]:
    """Split rows at the borders of matrices of `height` rows: matrix, and rows in it."""
    pieces = []
    start = rows.start
    while start < rows.stop:
        matrix, first = divmod(start, height)
        last = min(height, first + rows.stop - start)
        pieces.append((matrix, slice(first, last)))
        start += last - first
    return pieces
