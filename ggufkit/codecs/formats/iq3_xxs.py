"""IQ3_XXS: groups of four weights are one of 256 grid points, with signs apart.

::

    | d: float16 | qs: 64 bytes | scales_and_signs: 8 x uint32 |        one per sub-block of 32

    w = d * (2 * l + 1) / 4 * sign * LEVELS[code]
    qs: point of each group of four
    scales_and_signs: | l: 4 bits | signs of eight weights: 7 bits | 7 | 7 | 7 |, as in IQ2_XXS

ggml: ``quantize_row_iq3_xxs_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.grid_search import (
    EVEN_SIGNS,
    SIGN_SHIFTS,
    GridSpec,
    decode_signed,
    grid_encode,
    pack_scales_and_signs,
)
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.superblock import square_weights
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 64), ("scales_and_signs", "<u4", 8)])
LEVELS = np.array([4, 12, 20, 28, 36, 44, 52, 62], np.float32)

SPEC = GridSpec("iq3_xxs", 8, 7, 15, 0.2, even=True, dead_below=1e-8, fudge=1.0125)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    words = blocks["scales_and_signs"]
    signs = EVEN_SIGNS[(words[:, :, None] >> SIGN_SHIFTS) & 127].reshape(-1, 32)
    scale = (words >> 28).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.5)
    levels = LEVELS[grid("iq3_xxs").T][blocks["qs"]].reshape(-1, 256)
    return decode_signed(levels, scale, signs)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    found = grid_encode(x, square_weights(x, importance, 8), SPEC)
    blocks = np.empty(found.d.size, LAYOUT)
    blocks["d"] = half(found.d)
    blocks["qs"] = found.points
    blocks["scales_and_signs"] = pack_scales_and_signs(found)
    blocks[found.d == 0] = np.zeros((), LAYOUT)
    return blocks


IQ3_XXS = Codec(TensorType.IQ3_XXS, LAYOUT, decode, encode)
