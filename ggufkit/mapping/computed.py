"""Tensors that no checkpoint has: they are computed from the config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufkit.errors import ConversionError
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import ComputedTensor
from ggufkit.mapping.transforms import Floats

# No model has heads of nearly as many dimensions.
MAX_HEAD_DIM = 1 << 16


@np.errstate(all="ignore")
def llama3_rope_factors(config: Mapping[str, Any]) -> Floats | None:
    """Compute the frequency factors of llama 3's rope scaling, (head_dim / 2,).

    Wavelengths beyond the original context are stretched by `factor`, short ones are kept, and
    those between are interpolated. All steps are float32, as in the reference converter.
    """
    params = full(config)
    if str(params.get("rope_type", "")).lower() != "llama3":
        return None
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    factor = np.float32(params.get("factor", 8.0))
    low, high = (float(params.get(f"{end}_freq_factor", d)) for end, d in (("low", 1), ("high", 4)))
    context = float(params.get("original_max_position_embeddings", 8192))

    if not 0 < int(head_dim) <= MAX_HEAD_DIM:
        raise ConversionError(f"config.json: heads of {head_dim} dimensions can't be rotated")
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    base = float(params.get("rope_theta", 10000.0))
    # correctly rounded float32 powers, independent of the platform's powf
    freqs = np.float32(1) / np.power(base, exponents.astype(np.float64)).astype(np.float32)
    wavelengths = np.float32(2 * math.pi) / freqs
    smooth = (np.float32(context) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = np.float32(1) / ((np.float32(1) - smooth) / factor + smooth)
    factors = np.where(wavelengths > context / low, factor, between)
    values = np.where(wavelengths < context / high, np.float32(1), factors).astype(np.float32)
    if not np.isfinite(values).all():
        raise ConversionError("config.json: its rope scaling gives factors that are not finite")
    return values


@dataclass(frozen=True)
class LongropeFactors:
    """A longrope model's factors, (rope dimensions / 2,).

    Attributes
    ----------
    which : {"long", "short"}
        For contexts beyond the original one, or within it.
    """

    which: str

    def __call__(self, config: Mapping[str, Any]) -> Floats | None:
        """Return the factors, None where RoPE is scaled otherwise.

        Raises
        ------
        ConversionError
            There are not as many long as short ones.
        """
        given = full(config)
        if not given.get("long_factor"):
            return None
        long, short = (np.array(given.get(f"{n}_factor") or (), "f4") for n in ("long", "short"))
        if long.ndim != 1 or long.shape != short.shape:
            raise ConversionError(
                f"config.json has {long.size} long and {short.size} short rope factors; "
                "there must be as many of both"
            )
        return long if self.which == "long" else short


LLAMA3_FACTORS = (ComputedTensor("rope_freqs.weight", llama3_rope_factors),)
LONGROPE_FACTORS = tuple(
    ComputedTensor(f"rope_factors_{which}.weight", LongropeFactors(which))
    for which in ("long", "short")
)
