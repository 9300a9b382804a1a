"""IQ3_S: groups of four weights are one of 512 grid points, with all signs.

::

    | d: float16 | qs: 64 bytes | qh: 8 bytes | signs: 32 bytes | scales: 4 bytes |

    w = d * (2 * l + 1) * sign * (2 * code + 1)
    qs: low eight bits of the point of each group of four; qh: bit i % 8 of byte i // 8 the ninth
    scales: byte i holds l of sub-blocks 2i (low nibble) and 2i + 1, 32 weights each

ggml: ``quantize_row_iq3_s_impl``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats, half, planes
from ggufkit.codecs.bits import pack_bits, pack_nibbles, unpack_bits, unpack_nibbles
from ggufkit.codecs.grid_search import GridSpec, decode_signed, grid_encode
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.superblock import square_weights
from ggufkit.types import TensorType

LAYOUT = np.dtype(
    [("d", "<f2"), ("qs", "u1", 64), ("qh", "u1", 8), ("signs", "u1", 32), ("scales", "u1", 4)]
)
LEVELS = np.arange(1, 16, 2, dtype=np.float32)
SPEC = GridSpec("iq3_s", 8, 7, 9, 0.2, fudge=1.033, redo_all=True)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    scale = np.float32(1) + np.float32(2) * unpack_nibbles(blocks["scales"], 1)
    scale *= blocks["d"].astype(np.float32)[:, None]
    points = blocks["qs"] | (unpack_bits(blocks["qh"]).astype(np.uint16) << 8)
    levels = LEVELS[grid("iq3_s").T][points].reshape(-1, 256)
    return decode_signed(levels, scale, blocks["signs"])


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    found = grid_encode(x, square_weights(x, importance, 8), SPEC)
    blocks = np.empty(found.d.size, LAYOUT)
    blocks["d"] = half(found.d)
    live_first = np.argsort(found.dead.T, axis=1, kind="stable")
    blocks["qs"] = _reorder((found.points & 255).astype(np.uint8), live_first)
    blocks["qh"] = pack_bits((found.points >> 8).astype(np.uint8))
    blocks["signs"] = _reorder(found.signs, live_first)
    blocks["scales"] = pack_nibbles(found.scales, 1)
    return blocks


def _reorder(packed: Bytes, order: NDArray[np.intp]) -> Bytes:
    """Reorder the sub-blocks of qs or signs.

    ggml moves on by a sub-block only after it wrote one, and skips those of zeros; so the points
    and signs of the others move up, while qh and the scales stay.
    """
    by_sub = packed.reshape(len(packed), 8, -1)
    return np.take_along_axis(by_sub, order[:, :, None], axis=1).reshape(packed.shape)


IQ3_S = Codec(TensorType.IQ3_S, LAYOUT, decode, encode)
