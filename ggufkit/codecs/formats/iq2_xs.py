"""IQ2_XS: groups of eight weights are one of 512 grid points; 16 sub-blocks with 4-bit scales.

::

    | d: float16 | qs: 32 x uint16 | scales: 8 bytes |

    w = d * (2 * l + 1) / 8 * sign * LEVELS[code]
    qs: | signs: 7 bits | point: 9 bits | per group; the eighth sign as in IQ2_XXS
    scales: byte i holds l of sub-blocks 2i (low nibble) and 2i + 1

ggml: ``quantize_row_iq2_xs_impl``; importance is needed.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.formats.iq2_xxs import LEVELS
from ggufkit.codecs.grid_search import EVEN_SIGNS, GridSpec, decode_signed, grid_encode
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.search import GROUP_MAX_EPS
from ggufkit.codecs.superblock import block_mean_square, block_weights, require_importance
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "<u2", 32), ("scales", "u1", 8)])
SPEC = GridSpec("iq2_xs", 16, 2, 9, 0.1, even=True, dead_below=float(GROUP_MAX_EPS))


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    scale = unpack_nibbles(blocks["scales"], 1).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.25)
    levels = LEVELS[grid("iq2_xs").T][blocks["qs"] & 511].reshape(-1, 256)
    return decode_signed(levels, scale, EVEN_SIGNS[blocks["qs"] >> 9])


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 16, 16)
    weights = block_weights(x, require_importance(importance), 16, block_mean_square(x, 16))
    found = grid_encode(x, weights, SPEC)
    blocks = np.empty(found.d.size, LAYOUT)
    blocks["d"] = half(found.d)
    blocks["qs"] = found.points | ((found.signs.astype(np.uint16) & 127) << 9)
    blocks["scales"] = pack_nibbles(found.scales, 1)
    blocks[found.d == 0] = np.zeros((), LAYOUT)
    return blocks


IQ2_XS = Codec(TensorType.IQ2_XS, LAYOUT, decode, encode, needs_importance=True)
