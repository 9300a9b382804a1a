"""The inverse of hparams: a config.json from the metadata of a GGUF file.

An hparam that is read from a config key goes back to that key; one that is computed has its
`inverse` next to it. Those without one follow from others, or are the same for all models of an
architecture. Whether the config is right is proven forwards, see `ggufkit.export.proof`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufkit.mapping.model_header import ConfigInverse, ConfigValues, ModelHeader
from ggufkit.mapping.spec import UNPREFIXED, Architecture, Hparam

# Of the names that an hparam may have in a config, transformers' own.
USUAL = frozenset(
    (
        *("num_hidden_layers", "max_position_embeddings", "hidden_size", "intermediate_size"),
        *("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "layer_norm_eps"),
        *("num_experts_per_tok", "layer_norm_epsilon", "seq_length"),
    )
)


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


def invert_hparams(architecture: Architecture, header: ModelHeader) -> dict[str, Any]:
    """Return the config that the hparams were written from, as far as they tell.

    Parameters
    ----------
    architecture : Architecture
        Whose they are.
    header : ModelHeader
        The file; its `config` is filled.
    """
    # where a key is written twice, the later value stands
    by_key = {
        hparam.key: hparam
        for hparam in (*architecture.leading_hparams, *architecture.hparams)
        if isinstance(hparam, Hparam)
    }
    inverses = [(hparam, _inverse(architecture, hparam)) for hparam in by_key.values()]
    # functions may need what is said plainly
    for hparam, inverse in sorted(inverses, key=lambda pair: callable(pair[1])):
        value = header.hparams.get(hparam.key)
        if inverse is None or value is None or hparam.key.startswith(UNPREFIXED):
            continue
        if isinstance(hparam.source, tuple) and any(n in header.config for n in hparam.source):
            continue
        if isinstance(inverse, str):
            set_path(header.config, inverse, shortest_decimal(value))
        else:
            for path, found in inverse(value, header).items():
                set_path(header.config, path, found)
    return header.config


def _inverse(architecture: Architecture, hparam: Hparam) -> ConfigInverse | None:
    if hparam.inverse is not None:
        return hparam.inverse
    source = hparam.source
    if callable(source):
        inverse: ConfigInverse | None = getattr(source, "inverse", None)
        return inverse
    names = (source,) if isinstance(source, str) else source
    return next(
        (name for known in (architecture.defaults, USUAL) for name in names if name in known),
        names[0],
    )


@dataclass(frozen=True)
class Unless:
    """The inverse of a value that is no key where it is the default."""

    default: Any
    key: str

    def __call__(self, value: Any, _: ModelHeader) -> ConfigValues:
        """Return the key, unless the value is the default."""
        return {} if value == self.default else {self.key: shortest_decimal(value)}


@dataclass(frozen=True)
class Less:
    """The inverse of a sum of a config key and an hparam."""

    key: str
    hparam: str

    def __call__(self, value: Any, header: ModelHeader) -> ConfigValues:
        """Return the key's part."""
        return {self.key: value - int(header.hparams.get(self.hparam) or 0)}


@dataclass(frozen=True)
class LayerTypes:
    """The inverse of a list that says which layers are of one type and not of the other."""

    true: str
    false: str

    def __call__(self, value: Any, _: ModelHeader) -> ConfigValues:
        """Return the layers' types."""
        return {"layer_types": [self.true if item else self.false for item in value]}


@dataclass(frozen=True)
class KVHeadsByLayer:
    """The inverse of the number of key and value heads by layer; 0 without attention.

    Attributes
    ----------
    attention, other : str
        The types of layers with and without attention.
    """

    attention: str
    other: str

    def __call__(self, value: Any, _: ModelHeader) -> ConfigValues:
        """Return the number of heads and the layers' types."""
        types = [self.attention if heads else self.other for heads in value]
        return {"num_key_value_heads": max(value, default=0), "layer_types": types}


def default_head_dim_of(header: ModelHeader) -> int:
    """Return the width divided by the heads."""
    heads = header.hparams.get("attention.head_count") or 1
    return int(header.hparams.get("embedding_length", 0)) // int(heads)


def head_dim_of(header: ModelHeader) -> int:
    """Return the rows of one attention head."""
    given = header.config.get("head_dim") or header.hparams.get("attention.key_length")
    return int(given) if given else default_head_dim_of(header)


@dataclass(frozen=True)
class RotaryShare:
    """The inverse of the number of a head's dimensions that RoPE rotates, to their share.

    Attributes
    ----------
    key : str
        The config key of the share.
    whole : callable
        What it is a share of.
    """

    key: str
    whole: Callable[[ModelHeader], int]

    def __call__(self, value: Any, header: ModelHeader) -> ConfigValues:
        """Return the share."""
        whole = self.whole(header)
        if not whole:
            return {}
        return {self.key: shortest_preimage(value / whole, lambda share: int(share * whole))}
