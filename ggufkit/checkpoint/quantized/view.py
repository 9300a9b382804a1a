"""The view of a quantized checkpoint that a method fills with plain weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.errors import CheckpointError

Tensors = dict[str, CheckpointTensor]


@dataclass
class PlainView:
    """A checkpoint's tensors, while plain weights take the places of packed ones.

    Attributes
    ----------
    stored : dict
        All tensors of the checkpoint.
    weights : dict
        The plain weights so far.
    hidden : set of str
        Names of stored tensors that the view does not show.
    """

    stored: Tensors
    weights: Tensors = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def tensors(self) -> Tensors:
        """Return the tensors of the view, sorted by name."""
        kept = {name: tensor for name, tensor in self.stored.items() if name not in self.hidden}
        return dict(sorted((kept | self.weights).items()))

    def with_suffix(self, suffix: str) -> Iterator[tuple[str, CheckpointTensor]]:
        """Yield the stored tensors whose names end with `suffix`, by the name without it."""
        for name, tensor in self.stored.items():
            if name.endswith(suffix):
                yield name.removesuffix(suffix), tensor

    def part(self, name: str) -> CheckpointTensor:
        """Return a part of a packed weight.

        Raises
        ------
        CheckpointError
            The part is missing.
        """
        try:
            return self.stored[name]
        except KeyError:
            raise CheckpointError(
                f"tensor {name!r} is missing, a part of a quantized weight; is the download "
                "complete?"
            ) from None

    def put(
        self, name: str, main: CheckpointTensor, shape: tuple[int, ...], weight: QuantizedWeight
    ) -> None:
        """Add a float32 weight; its data counts as that of the packed tensor `main`."""
        self.weights[name] = CheckpointTensor(
            name, shape, "F32", main.shard, main.offset, main.nbytes, packing=weight
        )

    def hide(self, stem: str, parts: Iterable[str]) -> None:
        """Hide the parts of a weight, whose names follow `stem`."""
        self.hidden.update(stem + each for each in parts)


def described(tensor: CheckpointTensor) -> str:
    """Return the beginning of an error about a tensor's dtype or shape."""
    return f"{tensor.shard.path}: tensor {tensor.name!r} is {tensor.dtype} of shape {tensor.shape}"


def expect(tensor: CheckpointTensor, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    """Check a part's shape and dtype.

    Raises
    ------
    CheckpointError
        They are not the expected ones.
    """
    if tensor.shape != shape or tensor.dtype not in dtypes:
        raise CheckpointError(
            f"{described(tensor)}, expected {' or '.join(dtypes)} of shape {shape}"
        )
