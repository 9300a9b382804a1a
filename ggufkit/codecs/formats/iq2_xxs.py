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
    GridSearchParams,
    block_scales,
    decode_signed,
    fold_signs,
    natural_points,
    pack_signs,
    search,
)
from ggufkit.codecs.lattice import grid, lattice
from ggufkit.codecs.search import GROUP_MAX_EPS, make_qp_quants
from ggufkit.codecs.superblock import block_mean_square, block_weights, require_importance
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "<u4", (8, 2))])
LEVELS = np.array([8, 25, 43], np.float32)

_SHIFTS = np.array([0, 7, 14, 21], np.uint32)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    words = np.ascontiguousarray(blocks["qs"])
    points = np.ascontiguousarray(words[:, :, 0]).view(np.uint8)
    signs = EVEN_SIGNS[(words[:, :, 1, None] >> _SHIFTS) & 127].reshape(-1, 32)
    scale = (words[:, :, 1] >> 28).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.25)
    levels = LEVELS[grid("iq2_xxs").T][points].reshape(-1, 256)
    return decode_signed(levels, scale, signs)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    weights = block_weights(x, require_importance(importance), 8, block_mean_square(x, 8))
    magnitude, negative = fold_signs(x, weights, even=True)
    dead = np.maximum.reduce(magnitude, axis=0) < GROUP_MAX_EPS
    rule = GridSearchParams(lattice("iq2_xxs"), 2, 6, 0.1, redo_all=True, redo_always=True)
    start, _ = make_qp_quants(magnitude, weights, 4)
    limit = start * np.float32(3)
    dead |= limit <= 0
    found = search(magnitude, weights, negative, rule, dead=dead, limit=limit, scale=start)
    d, scales = block_scales(found.scale, 8)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"][:, :, 0] = natural_points(found.points, 8).astype(np.uint8).view("<u4")
    signs = pack_signs(found.negative, 8).reshape(-1, 8, 4).astype(np.uint32) & 127
    second = np.bitwise_or.reduce(signs << _SHIFTS, axis=2)
    blocks["qs"][:, :, 1] = second | (scales.astype(np.uint32) << 28)
    blocks[d == 0] = np.zeros((), LAYOUT)
    return blocks


IQ2_XXS = Codec(TensorType.IQ2_XXS, LAYOUT, decode, encode, needs_importance=True)
