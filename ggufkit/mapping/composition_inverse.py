"""The inverse of what made several tensors of a GGUF file of one of a checkpoint.

Each transform inverts itself, and a chain its steps from the last to the first. Two things concern
more than one step. Those that compute each value for itself (`ElementWise`) are taken out of the
chain: they are undone last, when the type of the result is known. And where tensors share out the
rows of one, each is led back to its share, the shares are put together, and then the steps before
they were cut, which must be the same for all, are undone.

The result is a transform again, so that rows stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.mapping.row_transforms import RowGather, scatter
from ggufkit.mapping.transforms import ElementWise, Shape, Transform, compose


@dataclass(frozen=True)
class Inverse:
    """The inverse that makes one tensor of a checkpoint.

    Attributes
    ----------
    transform : Transform
        From the file's tensors to it, but for the arithmetic.
    shape : tuple of int
        Its shape.
    arithmetic : ElementWise or None
        What its values still have to be undone of.
    """

    transform: Transform
    shape: Shape
    arithmetic: ElementWise | None = None


def invert(transforms: Sequence[Transform], made: Sequence[Shape], number: int = 0) -> Inverse:
    """Return the inverse of transforms that made tensors of the shapes `made` of the same one.

    Parameters
    ----------
    transforms : sequence of Transform
        What made each of the tensors.
    made : sequence of tuple of int
        Their shapes.
    number : int
        Which of its sources, where a stack was made of several tensors.

    Raises
    ------
    ShapeMismatchError
        The transforms make no such shapes, or not of the same tensor.
    ConversionError
        Rows of the tensor are in none of the results, or a transform has no inverse.
    """
    arithmetic = _arithmetic(transforms)
    chains = [
        tuple(step for step in transform.steps if not isinstance(step, ElementWise))
        for transform in transforms
    ]
    found = [_cut(chain) for chain in chains]
    shares = [share for share in found if share is not None]
    if not shares and len(set(chains)) == len(set(made)) == 1:  # the tensor, or copies of it
        back = compose(*chains[0]).invert(made[0], number)
    elif len(shares) == len(found):
        back = _join(shares, made, number)
    else:
        raise ShapeMismatchError("a tensor can't be whole in one of the file, and in others, too")
    return Inverse(back, back.shape(*made), arithmetic)


def _arithmetic(transforms: Sequence[Transform]) -> ElementWise | None:
    """Return the element-wise step of all the transforms, which have at most one."""
    found = {
        tuple(step for step in transform.steps if isinstance(step, ElementWise))
        for transform in transforms
    }
    steps = found.pop()
    if found or len(steps) > 1:
        raise ConversionError("its values were computed in different ways, or in several steps")
    return steps[0] if steps else None


@dataclass(frozen=True)
class _Share:
    """A chain that takes only a share of the rows of a tensor.

    Attributes
    ----------
    before : tuple of Transform
        The steps that made the tensor.
    rows : RowGather
        The step that takes the rows.
    after : Transform
        The rest.
    """

    before: tuple[Transform, ...]
    rows: RowGather
    after: Transform


def _cut(chain: Sequence[Transform]) -> _Share | None:
    """Return a chain as a share, None if no step leaves rows to other tensors."""
    for at, step in enumerate(chain):
        if isinstance(step, RowGather) and step.shares_rows:
            return _Share(tuple(chain[:at]), step, compose(*chain[at + 1 :]))
    return None


def _join(shares: Sequence[_Share], made: Sequence[Shape], number: int) -> Transform:
    after = [share.after.invert(shape) for share, shape in zip(shares, made, strict=True)]
    taken = [back.shape(shape) for back, shape in zip(after, made, strict=True)]
    joined = scatter([share.rows for share in shares], taken, after)
    before = {share.before for share in shares}
    if len(before) != 1:
        raise ShapeMismatchError("they are parts of tensors that were made in different ways")
    return compose(joined, compose(*before.pop()).invert(joined.whole, number))
