"""The limit that a mix has to keep, and the mix that was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ggufkit.converter.planning.plan import Rung
from ggufkit.converter.planning.rules import Recipe


@dataclass(frozen=True)
class Limit:
    """How large a mix may be.

    Attributes
    ----------
    name : str
        What the rung is called.
    excess : callable
        Returns by how many bytes a rung exceeds the limit; negative if it stays below.
    """

    name: str
    excess: Callable[[Rung], int]

    @classmethod
    def of_bytes(cls, name: str, n_bytes: int) -> Limit:
        """Limit the bytes of a rung's files."""
        return cls(name, lambda rung: rung.n_bytes - n_bytes)

    @classmethod
    def of_bits(cls, name: str, bits_per_weight: float) -> Limit:
        """Limit the bits of tensor data per weight."""
        return cls(
            name,
            lambda rung: math.ceil(
                (rung.bits_per_weight - bits_per_weight) * rung.n_weights / 8,
            ),
        )


@dataclass(frozen=True, slots=True)
class Share:
    """A tensor's part in the loss.

    Attributes
    ----------
    group : str
        The tensor's group.
    error : float
        Relative squared error.
    sensitivity : float
        Expected loss per unit of relative error, see `ggufkit.converter.mix.sensitivity`.
    """

    group: str
    error: float
    sensitivity: float

    @property
    def loss(self) -> float:
        """Error times sensitivity."""
        return self.error * self.sensitivity

    def __str__(self) -> str:
        return f"relative error {self.error:.3g}, sensitivity {self.sensitivity:.3g} ({self.group})"


@dataclass(frozen=True)
class Mix:
    """A chosen mix.

    Attributes
    ----------
    recipe : Recipe
        It, for a plan.
    shares : mapping of str to Share
        Tensor name to the tensor's part in the loss.
    bound : float
        No mix of these types within the limit has a smaller loss.
    nearest : Rung
        The standard file type that is nearest in size.
    nearest_loss : float or None
        The loss of that one, where all its types were measured.
    """

    recipe: Recipe
    shares: Mapping[str, Share]
    bound: float
    nearest: Rung
    nearest_loss: float | None

    @property
    def loss(self) -> float:
        """Loss of the mix."""
        return sum(share.loss for share in self.shares.values())

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "name": self.recipe.name,
            "loss": self.loss,
            "bound": self.bound,
            "nearest": {"name": self.nearest.name, "loss": self.nearest_loss},
            "tensors": [
                {"name": name, "type": type_.name, **asdict(self.shares[name])}
                for name, type_ in self.recipe.types.items()
            ],
        }
