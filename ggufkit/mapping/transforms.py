"""What converters do to weights between a checkpoint and a GGUF file, and how it is undone.

A transform is one class with all it can do: the shape it makes, any range of rows of the result
(so that tensors stream), its inverse, and its action on the factors of a LoRA. What a class can't
do it states as a reason, which becomes the error.

Rows are counted over all leading dimensions; the rows of a vector are its elements. So a stack
of matrices is one tall matrix, and a bias is treated like the matrix whose rows it goes with.

Those that only choose and order rows are in `ggufkit.mapping.row_transforms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from math import prod
from typing import ClassVar, Protocol

import numpy as np

from ggufkit.arrays import Floats as Floats
from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.types import Shape as Shape

# Of a LoRA's product: (..., n_rows, rank) and (..., rank, n_cols).
Factors = tuple[Floats, Floats]


def n_rows(shape: Shape) -> int:
    """Return the rows of a tensor; a vector's are its elements."""
    return prod(shape[:-1]) if len(shape) > 1 else prod(shape)


def trimmed(shape: Shape) -> Shape:
    """Return a shape without ones in front, which quantized files do not have."""
    return trimmed(shape[1:]) if len(shape) > 1 and shape[0] == 1 else shape


class Sources(Protocol):
    """The tensors that a transform reads."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of each tensor."""

    def read(self, rows: slice, source: int = 0) -> Floats:
        """Return rows of one tensor: (n_rows, n_cols), or (n_rows,) of a vector."""


@dataclass(frozen=True)
class ArraySource:
    """An array as the only source of a transform."""

    values: Floats

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The array's shape."""
        return (self.values.shape,)

    def read(self, rows: slice, _: int = 0) -> Floats:
        """Return rows of the array."""
        values = self.values
        return (values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values)[rows]


@dataclass(frozen=True)
class SingleSource:
    """One of several sources as the only one."""

    sources: Sources
    number: int

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of that source."""
        return (self.sources.shapes[self.number],)

    def read(self, rows: slice, _: int = 0) -> Floats:
        """Return rows of that source."""
        return self.sources.read(rows, self.number)


@dataclass(frozen=True)
class TransformedSource:
    """The result of a transform as the source of the next, computed as it is read."""

    sources: Sources
    transform: Transform

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of the result."""
        return (self.transform.shape(*self.sources.shapes),)

    def read(self, rows: slice, _: int = 0) -> Floats:
        """Compute rows of the result."""
        return self.transform.apply(self.sources, rows)


class Change(IntEnum):
    """How much of a weight a transform changes; a chain changes as much as its strongest step."""

    NOTHING = 0  # tensors are stacked at most
    ROWS = 1  # which rows there are and in what order, so that quantized blocks can stay
    ANYTHING = 2


class Transform(ABC):
    """From tensors of a checkpoint to one of a GGUF file.

    Attributes
    ----------
    no_inverse, no_lora : str
        Why `invert`, or `on_lora`, is not implemented.
    """

    no_inverse: ClassVar[str] = ""
    no_lora: ClassVar[str] = ""

    @property
    def change(self) -> Change:
        """How much of a weight is changed."""
        return Change.ANYTHING

    @property
    def steps(self) -> tuple[Transform, ...]:
        """The transforms that this one is a chain of, in the order in which they are applied."""
        return (self,)

    def shape(self, *sources: Shape) -> Shape:
        """Return the shape made from tensors of the shapes `sources`; most keep it.

        Raises
        ------
        ShapeMismatchError
            The transform does not apply to such tensors.
        """
        return sources[0]

    @abstractmethod
    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Compute `rows` of the result, reading only the rows that these depend on."""

    def invert(self, _: Shape, __: int = 0, /) -> Transform:
        """Return the transform from the result back to one of its sources.

        Parameters
        ----------
        made : tuple of int
            Shape of the result, maybe without ones in front.
        number : int
            Which of the sources.

        Raises
        ------
        ConversionError
            There is no inverse; the message gives the reason.
        ShapeMismatchError
            This transform makes no such shape.
        """
        raise ConversionError(f"{type(self).__name__} can't be inverted: {self.no_inverse}")

    def on_lora(self, _: Sequence[Factors], /) -> Factors:
        """Return R and C of the transformed product, given R and C of each source's R @ C.

        Rows of the product are rows of R, its columns are columns of C. So a transform of rows is
        one of R alone, and a transposition swaps the two.

        Raises
        ------
        ConversionError
            The result is no product of two such factors; the message gives the reason.
        """
        raise ConversionError(f"{type(self).__name__} can't be applied to a LoRA: {self.no_lora}")

    def _checked(self, inverse: Transform, made: Shape) -> Transform:
        """Return an inverse of a result of the shape `made`, if this transform makes that."""
        source = inverse.shape(made)
        if trimmed(self.shape(source)) != trimmed(made):
            raise ShapeMismatchError(f"{made} can't come from {source}")
        return inverse


def on_rows(transform: Transform, factors: Sequence[Factors]) -> Factors:
    """Transform R alone: what `on_lora` is where all columns are treated alike."""
    rows, cols = factors[0]
    shape = transform.shape(rows.shape)
    values = transform.apply(ArraySource(rows), slice(0, n_rows(shape))).reshape(shape)
    # the same columns for every matrix of what has become a stack
    return values, cols.reshape((1,) * (len(shape) - cols.ndim) + cols.shape)


@dataclass(frozen=True)
class Identity(Transform):
    """The tensor as it is."""

    @property
    def change(self) -> Change:
        """How much of a weight is changed."""
        return Change.NOTHING

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        return sources.read(rows)

    def invert(self, _: Shape, __: int = 0, /) -> Transform:
        """Return the same."""
        return self

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Return the factors as they are."""
        return factors[0]


IDENTITY = Identity()


@dataclass(frozen=True)
class Compose(Transform):
    """One transform after the other; only the first may have several sources."""

    first: Transform
    second: Transform

    @property
    def change(self) -> Change:
        """How much of a weight is changed."""
        return max(self.first.change, self.second.change)

    @property
    def steps(self) -> tuple[Transform, ...]:
        """Those of the first, and those of the second."""
        return (*self.first.steps, *self.second.steps)

    def shape(self, *sources: Shape) -> Shape:
        """Return the second's shape of the first's."""
        return self.second.shape(self.first.shape(*sources))

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the second's rows of what the first makes."""
        return self.second.apply(TransformedSource(sources, self.first), rows)

    def invert(self, made: Shape, number: int = 0, /) -> Transform:
        """Return the inverse of the second, and after it that of the first."""
        back = self.second.invert(made)
        return compose(back, self.first.invert(back.shape(made), number))

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Apply one after the other."""
        return self.second.on_lora([self.first.on_lora(factors)])


def compose(*steps: Transform) -> Transform:
    """Return transforms one after the other as one, without those that change nothing."""
    return reduce(Compose, [step for step in steps if step != IDENTITY] or [IDENTITY])


class ElementWise(Transform):
    """A transform that computes each value from one value, whatever the shape."""

    no_inverse = "values are undone last, by `undo`, when the type of the result is known"
    no_lora = "it is not linear"

    @abstractmethod
    def compute(self, values: Floats) -> Floats:
        """Return the transformed values."""

    @abstractmethod
    def undo(self, values: Floats) -> Floats:
        """Return the nearest float32 to the numbers that `values` are computed from."""

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows' values, transformed."""
        return self.compute(sources.read(rows))


@dataclass(frozen=True)
class AddOne(ElementWise):
    """Norms that the checkpoint stores as their difference from one."""

    def compute(self, values: Floats) -> Floats:
        """Return the values plus one."""
        return values + np.float32(1)

    def undo(self, values: Floats) -> Floats:
        """Return the values minus one."""
        return (values.astype(np.float64) - 1).astype(np.float32)


@dataclass(frozen=True)
class NegativeExp(ElementWise):
    """State-space decays that the checkpoint stores as logarithms: -exp(x), rounded correctly.

    torch's exp, and so llama.cpp's converter, is off by one unit in the last place for some
    values, which ones depending on the processor.
    """

    def compute(self, values: Floats) -> Floats:
        """Return the decays."""
        return -np.exp(values.astype(np.float64)).astype(np.float32)

    def undo(self, values: Floats) -> Floats:
        """Return the logarithms; NaN of positive values."""
        return np.log(-values.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True)
class Scale(Transform):
    """The tensor times numbers, one after the other, each product rounded to float32."""

    factors: tuple[float, ...]
    no_inverse = "the config's multipliers are part of the weights then, and products were rounded"

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the products."""
        values = sources.read(rows)
        for factor in self.factors:
            values = values * np.float32(factor)
        return values

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Scale R."""
        return on_rows(self, factors)


@dataclass(frozen=True)
class ScaleParts(Transform):
    """A matrix whose parts are multiplied by numbers of their own.

    Attributes
    ----------
    parts : tuple of (int, float)
        Rows of each part, from the first row on, and its factor.
    """

    parts: tuple[tuple[int, float], ...]
    no_inverse = Scale.no_inverse

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

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Scale rows of R."""
        return on_rows(self, factors)


@dataclass(frozen=True)
class Reshape(Transform):
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
        source = sources[0]
        known = prod(n for n in self.to if n != -1)
        made = tuple(prod(source) // known if n == -1 else n for n in self.to)
        same_rows = len(source) == 1 or made[-1] == source[-1]
        if prod(made) != prod(source) or not same_rows:
            raise ShapeMismatchError(f"{source} can't be seen as {self.to}")
        return made

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        source = sources.shapes[0]
        made = self.shape(source)
        if len(source) > 1 or len(made) == 1:
            return sources.read(rows)
        width = made[-1]
        return sources.read(slice(rows.start * width, rows.stop * width)).reshape(-1, width)

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return the view of a stack as one tall matrix, of a matrix as a vector."""
        source = (prod(made[:-1]), made[-1]) if len(made) > 2 else (prod(made),)
        return self._checked(View(source), made)

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Reshape R, whose rows are as long as the rank."""
        return on_rows(Reshape((*self.to[:-1], factors[0][0].shape[-1])), factors)


@dataclass(frozen=True)
class View(Transform):
    """The weights of a file in the shape of the checkpoint: as a vector, or in equal rows."""

    to: Shape
    no_inverse = "it is an inverse itself, and does not know the shape in the file"
    no_lora = "no checkpoint has adapters in the shape of a file"

    def shape(self, *_: Shape) -> Shape:
        """Return the new shape."""
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
class PadRows(Transform):
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

    def invert(self, _: Shape, __: int = 0, /) -> Transform:
        """Return the identity: nothing says which rows were added."""
        return IDENTITY

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Pad R."""
        return on_rows(self, factors)


@dataclass(frozen=True)
class Squeeze(Transform):
    """The same weights without the dimension before the last, which is 1: convolutions."""

    no_lora = "adapters of convolutions have other factors"

    def shape(self, *sources: Shape) -> Shape:
        """Return the source's without that dimension.

        Raises
        ------
        ShapeMismatchError
            It is not 1.
        """
        source = sources[0]
        if len(source) < 2 or source[-2] != 1:
            raise ShapeMismatchError(f"{source} is no convolution of single channels")
        return (*source[:-2], source[-1])

    def apply(self, sources: Sources, rows: slice) -> Floats:
        """Return the rows."""
        return sources.read(rows)

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return the view that has the dimension again."""
        return View((*made[:-1], 1, made[-1]))


@dataclass(frozen=True)
class Transpose(Transform):
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

    def invert(self, _: Shape, __: int = 0, /) -> Transform:
        """Return the same."""
        return self

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Swap the two, each transposed."""
        rows, cols = factors[0]
        return cols.swapaxes(-1, -2), rows.swapaxes(-1, -2)


@dataclass(frozen=True)
class Oriented(Transform):
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

    def invert(self, made: Shape, _: int = 0, /) -> Transform:
        """Return the transposition: published checkpoints hold these matrices transposed."""
        return self._checked(Transpose(), made)

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Apply what a product of this shape needs."""
        rows, cols = factors[0]
        return self._of((rows.shape[-2], cols.shape[-1])).on_lora(factors)

    def _of(self, source: Shape) -> Transform:
        is_upright = source[-2:] == (self.height, self.width) != (self.width, self.height)
        return IDENTITY if is_upright else Transpose()


@dataclass(frozen=True)
class StackExperts(Transform):
    """One tensor per expert, stacked along a new first dimension."""

    @property
    def change(self) -> Change:
        """How much of a weight is changed."""
        return Change.NOTHING

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

    def invert(self, _: Shape, number: int = 0, /) -> Transform:
        """Return what takes one expert."""
        return Unstack(number)

    def on_lora(self, factors: Sequence[Factors], /) -> Factors:
        """Stack both.

        Raises
        ------
        ConversionError
            The adapters differ in shape.
        """
        if len({(rows.shape, cols.shape) for rows, cols in factors}) != 1:
            raise ConversionError("the experts of a block have adapters of different shapes")
        return np.stack([rows for rows, _ in factors]), np.stack([cols for _, cols in factors])


@dataclass(frozen=True)
class Unstack(Transform):
    """One matrix of a stack, or one row of a matrix as a vector."""

    number: int
    no_inverse = "the others of the stack are not in the result"
    no_lora = "no checkpoint has adapters of stacks"

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
