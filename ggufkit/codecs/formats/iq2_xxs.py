"""IQ2_XXS: groups of eight weights are one of 256 grid points, with signs apart.

::

    | d: float16 | qs: 8 x (uint32, uint32) |        one pair per sub-block of 32

    w = d * (2 * l + 1) / 8 * sign * LEVELS[code]
    first word:  four bytes, the points of the four groups
    second word: | l: 4 bits | signs of group 3: 7 bits | group 2 | group 1 | group 0 |
    the eighth sign of a group makes the number of negative weights even

ggml: ``quantize_row_iq2_xxs_impl``; importance is needed. The grid: `ggufkit.codecs.lattice`.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.grid_search import (
    EVEN_SIGNS,
    SIGN_SHIFTS,
    GridSpec,
    decode_signed,
    fold_signs,
    grid_code,
    pack_scales_and_signs,
    search,
)
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.search import GROUP_MAX_EPS, make_qp_quants
from ggufkit.codecs.superblock import block_mean_square, block_weights, require_importance
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "<u4", (8, 2))])
LEVELS = np.array([8, 25, 43], np.float32)

SPEC = GridSpec("iq2_xxs", 8, 2, 6, 0.1, even=True, redo_all=True, redo_always=True)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    words = np.ascontiguousarray(blocks["qs"])
    points = np.ascontiguousarray(words[:, :, 0]).view(np.uint8)
    signs = EVEN_SIGNS[(words[:, :, 1, None] >> SIGN_SHIFTS) & 127].reshape(-1, 32)
    scale = (words[:, :, 1] >> 28).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.25)
    levels = LEVELS[grid("iq2_xxs").T][points].reshape(-1, 256)
    return decode_signed(levels, scale, signs)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    weights = block_weights(x, require_importance(importance), 8, block_mean_square(x, 8))
    magnitude, negative = fold_signs(x, weights, even=True)
    start, _ = make_qp_quants(magnitude, weights, 4)
    limit = start * np.float32(3)
    dead = (np.maximum.reduce(magnitude, axis=0) < GROUP_MAX_EPS) | (limit <= 0)
    fit = search(magnitude, weights, negative, SPEC, dead=dead, limit=limit, scale=start)
    found = grid_code(fit, dead, SPEC)
    blocks = np.empty(found.d.size, LAYOUT)
    blocks["d"] = half(found.d)
    blocks["qs"][:, :, 0] = found.points.astype(np.uint8).view("<u4")
    blocks["qs"][:, :, 1] = pack_scales_and_signs(found)
    blocks[found.d == 0] = np.zeros((), LAYOUT)
    return blocks


IQ2_XXS = Codec(TensorType.IQ2_XXS, LAYOUT, decode, encode, needs_importance=True)
