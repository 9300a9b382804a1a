"""IQ4_XS: the levels of IQ4_NL in a super-block: 8 sub-blocks of 32, each with a 6-bit scale.

::

    | d: float16 | scales_h: uint16 | scales_l: 4 bytes | qs: 128 bytes |

    w[j] = d * (scale[s] - 32) * LEVELS[q[j]]        s = j // 32
    scales_l: low four bits; byte i holds sub-blocks 2i (low nibble) and 2i + 1
    scales_h: bits 2s+1..2s are the high two bits of sub-block s
    qs: 16 bytes per sub-block, as in IQ4_NL

ggml: ``quantize_iq4_xs``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import nearest_int, signed_peak
from ggufkit.codecs.base import Blocks, Codec, Floats, half, natural, planes
from ggufkit.codecs.bits import pack_crumbs, pack_nibbles, unpack_crumbs, unpack_nibbles
from ggufkit.codecs.nonlinear import LEVELS, nearest, nonzero_inverse, search_scale
from ggufkit.codecs.superblock import block_mean_square, block_weights
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    high = np.ascontiguousarray(blocks["scales_h"]).view(np.uint8).reshape(-1, 2)
    scales = unpack_nibbles(blocks["scales_l"], 1) | (unpack_crumbs(high, 1) << 4)
    signed = scales.astype(np.float32) - np.float32(32)
    signed *= blocks["d"].astype(np.float32)[:, None]
    out: Floats = LEVELS[unpack_nibbles(blocks["qs"], 16)].reshape(-1, 8, 32)
    out *= signed[:, :, None]
    return out.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    if importance is None:
        weights = x * x
    else:
        weights = block_weights(x, importance, 8, np.float32(2) * block_mean_square(x, 8))
    found = search_scale(x, weights).reshape(8, -1)
    d = -signed_peak(found) / np.float32(32)
    scales = np.clip(nearest_int(found * nonzero_inverse(d)), -32, 31)
    scale = (d * scales.astype(np.float32)).reshape(-1)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    packed = (scales.T + 32).astype(np.uint8)
    blocks["scales_l"] = pack_nibbles(packed & 15, 1)
    blocks["scales_h"] = np.ascontiguousarray(pack_crumbs(packed >> 4, 1)).view("<u2")[:, 0]
    blocks["qs"] = pack_nibbles(natural(nearest(x * nonzero_inverse(scale)), 8), 16)
    return blocks


IQ4_XS = Codec(TensorType.IQ4_XS, LAYOUT, decode, encode)
