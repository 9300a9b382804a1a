"""How much the model minds errors in a tensor: a weight per role and depth.

For small errors, the divergence of a quantized model's predictions from the source's is close to
a sum over its tensors, each tensor's share being its relative squared error times a number of its
own. These numbers are alike for the tensors of a role, less so for its first and last blocks;
`ggufkit.ship.sensitivity` measures them. ``DEFAULT`` is for models where nobody has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ggufkit.converter.choose import EMBEDDINGS, role_of
from ggufkit.converter.textfile import replace_text
from ggufkit.errors import BadValueError

FORMAT = "ggufkit sensitivity 1"
DEPTHS = ("early", "middle", "late")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Sensitivity:
    """Weights by group.

    Attributes
    ----------
    weights : mapping of str to float
        Group, such as ``attn_v/early``, or role, such as ``attn_v``, to the divergence in nats
        that a relative squared error of 1 in each of its tensors would give.
    origin : str
        Where they come from.
    facts : mapping
        How they were measured, for people.
    """

    weights: Mapping[str, float]
    origin: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, group: str) -> float:
        """Return the weight of a group: its own, its role's, or the mean of all."""
        role = group.partition("/")[0]
        for key in (group, role):
            if key in self.weights:
                return self.weights[key]
        same = [weight for key, weight in self.weights.items() if key.startswith(f"{role}/")]
        return geometric_mean(same or self.weights.values())

    @classmethod
    def read(cls, path: str | Path) -> Sensitivity:
        """Read a file that `write` has written.

        Raises
        ------
        BadValueError
            It is something else.
        """
        path = Path(path)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            weights = {str(group): float(weight) for group, weight in values["weights"].items()}
            if not weights or not all(0 < w < math.inf for w in weights.values()):
                raise ValueError("weights must be numbers above 0")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadValueError(
                f"{path}: no file of sensitivities ('ggufkit sensitivity' makes one): {error}"
            ) from None
        return cls(weights, path.name, values)

    def write(self, path: str | Path) -> None:
        """Write them as JSON."""
        values = {"format": FORMAT, **self.facts, "weights": dict(self.weights)}
        replace_text(Path(path), json.dumps(values, indent=1) + "\n")


def group_of(name: str, n_blocks: int, *, tied: bool) -> str:
    """Return the group of a tensor: its role, and in which part of the model it is.

    Examples
    --------
    >>> group_of("blk.1.attn_v.weight", 24, tied=False)
    'attn_v/early'
    >>> group_of("token_embd.weight", 24, tied=True)
    'tied_embd'
    """
    if tied and name == EMBEDDINGS[0]:
        return "tied_embd"
    role = role_of(name)
    block = re.match(r"blk\.(\d+)\.", name)
    if block is None:
        return role
    quarter = 4 * int(block[1]) // max(1, n_blocks)
    return f"{role}/{DEPTHS[0] if quarter < 1 else DEPTHS[1] if quarter < 3 else DEPTHS[2]}"


def geometric_mean(values: Iterable[float]) -> float:
    """Return the mean of numbers above 0 that differ by factors; 1 for none."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else 1.0


#: Of blocks' tensors: means over early, middle and late of SmolLM2-135M, rounded; a single tensor
#: at the ends of a model stands for more than one of many in its blocks.
DEFAULT = Sensitivity(
    MappingProxyType(
        {
            "attn_q": 0.1,
            "attn_k": 0.1,
            "attn_v": 0.35,
            "attn_output": 0.12,
            "ffn_gate": 0.15,
            "ffn_up": 0.25,
            "ffn_down": 0.4,
            "other": 0.2,
            "token_embd": 3.0,
            "output": 5.0,
            "tied_embd": 7.0,
        }
    ),
    "default",
)
