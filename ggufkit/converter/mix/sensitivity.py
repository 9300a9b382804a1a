"""How sensitive a model's output is to errors in its tensors: a weight per role and depth.

For small errors, the divergence of a quantized model's predictions from the source's is close to
a sum over its tensors, each tensor's share being its relative squared error times a number of its
own. These numbers are alike for the tensors of a role, less so for its first and last blocks;
`ggufkit.publish.sensitivity` measures them. ``DEFAULT`` is for models that were not measured.
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

from ggufkit.converter.planning.type_selection import EMBEDDINGS, role_of
from ggufkit.errors import BadValueError
from ggufkit.io.text import write_text_atomic

FORMAT = "ggufkit sensitivity 1"
OTHER = "other"
DEPTHS = ("early", "middle", "late")
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Sensitivity:
    """Weights by group.

    Attributes
    ----------
    weights : mapping of str to float
        Group, such as ``attn_v/early``, or role, such as ``attn_v``, to the divergence in nats
        that a relative squared error of 1 in all of its tensors would give.
    origin : str
        Where they come from.
    facts : mapping
        How they were measured, for people.
    """

    weights: Mapping[str, float]
    origin: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, group: str, n_tensors: Mapping[str, int]) -> float:
        """Return the weight of each tensor of a group.

        Parameters
        ----------
        group : str
            Of `group_of`.
        n_tensors : mapping of str to int
            How many tensors each group and each role has.
        """
        role = group.partition("/")[0]
        for key in (group, role):
            if key in self.weights:
                return self.weights[key] / n_tensors[key]
        same = [
            weight / n_tensors[key]
            for key, weight in self.weights.items()
            if key.startswith(f"{role}/") and n_tensors.get(key)
        ]
        return geometric_mean(same) if same else self.weights.get(OTHER, 1.0) / n_tensors[role]

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
                f"{path}: no file of sensitivities ('ggufkit sensitivity SOURCE --text FILE' makes "
                f"one): {error}"
            ) from None
        return cls(weights, path.name, values)

    def write(self, path: str | Path) -> None:
        """Write them as JSON."""
        values = {"format": FORMAT, **self.facts, "weights": dict(self.weights)}
        write_text_atomic(Path(path), json.dumps(values, indent=1) + "\n")


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


#: Between those of SmolLM2-135M (30 blocks) and gemma-3-270m (18), see docs/budget.md. Both tie the
#: output to the embeddings; apart, they share its weight.
DEFAULT = Sensitivity(
    MappingProxyType(
        {
            "attn_q": 3.0,
            "attn_k": 3.0,
            "attn_v": 10.0,
            "attn_output": 4.5,
            "ffn_gate": 4.5,
            "ffn_up": 7.5,
            "ffn_down": 10.5,
            OTHER: 5.0,
            "token_embd": 2.5,
            "output": 5.5,
            "tied_embd": 8.0,
        }
    ),
    "default",
)
