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
    GridSearchParams,
    block_scales,
    decode_signed,
    fold_signs,
    natural_points,
    pack_signs,
    search,
)
from ggufkit.codecs.lattice import grid, lattice
from ggufkit.codecs.superblock import block_mean_square, block_weights
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 64), ("scales_and_signs", "<u4", 8)])
LEVELS = np.array([4, 12, 20, 28, 36, 44, 52, 62], np.float32)
GROUP_MAX_EPS_IQ3_XXS = np.float32(1e-8)

_SHIFTS = np.array([0, 7, 14, 21], np.uint32)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    words = blocks["scales_and_signs"]
    signs = EVEN_SIGNS[(words[:, :, None] >> _SHIFTS) & 127].reshape(-1, 32)
    scale = (words >> 28).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.5)
    levels = LEVELS[grid("iq3_xxs").T][blocks["qs"]].reshape(-1, 256)
    return decode_signed(levels, scale, signs)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    if importance is None:
        weights = x * x
    else:
        weights = block_weights(x, importance, 8, np.float32(2) * block_mean_square(x, 8))
    magnitude, negative = fold_signs(x, weights, even=True)
    largest = np.maximum.reduce(magnitude, axis=0)
    rule = GridSearchParams(lattice("iq3_xxs"), 7, 15, 0.2)
    found = search(
        magnitude,
        weights,
        negative,
        rule,
        dead=largest < GROUP_MAX_EPS_IQ3_XXS,
        limit=largest,
        scale=largest / np.float32(15),
    )
    d, scales = block_scales(found.scale, 8, fudge=1.0125)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = natural_points(found.points, 8)
    signs = pack_signs(found.negative, 8).reshape(-1, 8, 4).astype(np.uint32) & 127
    words = np.bitwise_or.reduce(signs << _SHIFTS, axis=2)
    blocks["scales_and_signs"] = words | (scales.astype(np.uint32) << 28)
    blocks[d == 0] = np.zeros((), LAYOUT)
    return blocks


IQ3_XXS = Codec(TensorType.IQ3_XXS, LAYOUT, decode, encode)
