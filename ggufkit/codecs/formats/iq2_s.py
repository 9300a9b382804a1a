"""IQ2_S: groups of eight weights are one of 1024 grid points, with all eight signs.

::

    | d: float16 | qs: 32 bytes | signs: 32 bytes | qh: 8 bytes | scales: 8 bytes |

    w = d * (2 * l + 1) / 8 * sign * LEVELS[code]
    qs: low eight bits of each group's point
    qh: bits 2k+1..2k of byte i are the high bits of group 4 * i + k
    scales: as in IQ2_XS

ggml: ``quantize_row_iq2_s_impl`` (its struct counts the signs to qs).
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.bits import pack_crumbs, pack_nibbles, unpack_crumbs, unpack_nibbles
from ggufkit.codecs.formats.iq2_xxs import LEVELS
from ggufkit.codecs.grid_search import GridSpec, decode_signed, grid_encode
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.superblock import block_mean_square, block_weights
from ggufkit.types import TensorType

LAYOUT = np.dtype(
    [("d", "<f2"), ("qs", "u1", 32), ("signs", "u1", 32), ("qh", "u1", 8), ("scales", "u1", 8)]
)
SPEC = GridSpec("iq2_s", 16, 2, 9, 0.1, dead_below=1e-8, fudge=0.9875)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    scale = unpack_nibbles(blocks["scales"], 1).astype(np.float32) + np.float32(0.5)
    scale = blocks["d"].astype(np.float32)[:, None] * scale * np.float32(0.25)
    points = blocks["qs"] | (unpack_crumbs(blocks["qh"], 1).astype(np.uint16) << 8)
    levels = LEVELS[grid("iq2_s").T][points].reshape(-1, 256)
    return decode_signed(levels, scale, blocks["signs"])


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 16, 16)
    sigma2 = np.float32(2) * block_mean_square(x, 16)
    if importance is None:
        weights = x * x + np.tile(np.float32(0.25) * sigma2, 16)
    else:
        weights = block_weights(x, importance, 16, sigma2)
    found = grid_encode(x, weights, SPEC)
    blocks = np.empty(found.d.size, LAYOUT)
    blocks["d"] = half(found.d)
    blocks["qs"] = found.points & 255
    blocks["qh"] = pack_crumbs((found.points >> 8).astype(np.uint8), 1)
    blocks["signs"] = found.signs
    blocks["scales"] = pack_nibbles(found.scales, 1)
    return blocks


IQ2_S = Codec(TensorType.IQ2_S, LAYOUT, decode, encode)
