"""The inverse of RoPE hparams: a part of `ggufkit.architectures.inverse_hparams`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ggufkit.architectures import phi3
from ggufkit.mapping.config_inverse import (
    ConfigInverse,
    ModelHeader,
    shortest_decimal,
    shortest_preimage,
)


def share(key: str, of: Callable[[ModelHeader], int]) -> ConfigInverse:
    """Return the way back to the rotated share of something."""

    def back(value: Any, known: ModelHeader) -> Mapping[str, Any]:
        whole = of(known)
        return (
            {key: shortest_preimage(value / whole, lambda share: int(share * whole))}
            if whole
            else {}
        )

    return back


def head(known: ModelHeader) -> int:
    """Return the rows of one attention head."""
    given = known.config.get("head_dim") or known.hparams.get("attention.key_length")
    return int(given) if given else default_head_dim(known)


def default_head_dim(known: ModelHeader) -> int:
    """Return the width divided by the heads."""
    heads = known.hparams.get("attention.head_count") or 1
    return int(known.hparams.get("embedding_length", 0)) // int(heads)


def sections(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    """Say into which sections a head's dimensions are cut, without the empty ones at the end."""
    found = list(value)
    while len(found) > 3 and found[-1] == 0:
        found.pop()
    return {"rope_scaling.mrope_section": found, "rope_scaling.rope_type": "default"}


def freq_base(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    """Say the base, where no config key of its own is known."""
    return {} if "global_rope_theta" in known.config else {"rope_theta": shortest_decimal(value)}


def freq_base_swa(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    """The same for layers with a window."""
    return (
        {}
        if "local_rope_theta" in known.config
        else {"rope_local_base_freq": shortest_decimal(value)}
    )


def scaling(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    """Return the type; where the file says none in spite of a factor, the one that left others."""
    if value == "none":
        others = [key for key in known.hparams if key.startswith("rope.scaling.")]
        if "rope.scaling.factor" not in others:
            return {}
        value = "yarn" if len(others) > 2 else "linear"
    return {"rope_scaling.rope_type": value}


def log_multiplier(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    """Say yarn's factor for attention, of which the file has a tenth."""
    found = shortest_preimage(value / 0.1, lambda mscale: 0.1 * mscale)
    # llama.cpp takes the two for the same
    return {"rope_scaling.mscale_all_dim": found, "rope_scaling.mscale": found}


def mscales(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    """Say the same factor under both of its names."""
    names = ("mscale_all_dim", "mscale")
    return {f"rope_scaling.{name}": shortest_decimal(value) for name in names}


def attention_factor(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    """Return the scaling that has this factor for the two contexts."""
    scaling = {
        "long_factor": [1.0],
        "original_max_position_embeddings": known.hparams["rope.scaling.original_context_length"],
    }
    context = known.hparams["context_length"]
    for kind in ("longrope", "yarn"):
        trial = {
            "max_position_embeddings": context,
            "rope_scaling": {**scaling, "rope_type": kind},
        }
        if np.float32(phi3.attention_factor(trial)) == np.float32(value):
            return {"rope_scaling.rope_type": kind}
    return {}
