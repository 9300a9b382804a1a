"""What a GGUF file says about its model, and values as a config.json has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ggufkit.mapping.transforms import Shape


@dataclass(frozen=True)
class ModelHeader:
    """What a file says.

    Attributes
    ----------
    hparams : mapping
        Values by key, without the architecture's prefix.
    shapes : mapping
        Its tensors.
    ids : mapping
        Ids of special tokens by name: ``bos``, ``pad`` ...
    n_tokens : int
        The size of its vocabulary; 0 without one.
    tokenizer : str
        The kind of that: ``tokenizer.ggml.model``.
    config : dict
        What is recovered so far.
    """

    hparams: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    ids: Mapping[str, int] = field(default_factory=dict)
    n_tokens: int = 0
    tokenizer: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    def has(self, ending: str) -> bool:
        """Whether some tensor's name ends so."""
        return any(name.endswith(ending) for name in self.shapes)


ConfigInverse = str | Callable[[Any, ModelHeader], Mapping[str, Any]]


def shortest_decimal(value: Any) -> Any:
    """Return a float32 as the shortest decimal that rounds to it, lists of them likewise."""
    if isinstance(value, list):
        return [shortest_decimal(item) for item in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


def shortest_preimage(value: float, forward: Callable[[float], float]) -> float:
    """Return the shortest decimal near `value` that `forward` takes to the same float32."""
    wanted = np.float32(forward(value))
    for digits in range(1, 17):
        decimal = float(f"{value:.{digits}g}")
        if np.float32(forward(decimal)) == wanted:
            return decimal
    return value


def set_path(config: dict[str, Any], path: str, value: Any) -> None:
    """Set a key of a config, whose dots are levels; a value that is there stays."""
    *levels, last = path.split(".")
    for level in levels:
        config = config.setdefault(level, {})
    config.setdefault(last, value)
