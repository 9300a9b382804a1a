"""Q5_K: Q4_K with a fifth bit per weight.

::

    | d: float16 | dmin: float16 | scales: 12 bytes | qh: 32 bytes | qs: 128 bytes |

    w[j] = d * scale[s] * q[j] - dmin * min[s]        s = j // 32, q in 0..31
    qs: low four bits, as in Q4_K
    qh: bit s of byte i is the fifth bit of weight 32 * s + i
    scales: see `ggufkit.codecs.bits.pack_scales_k4`

ggml: ``quantize_row_q5_K_ref``, with importance ``quantize_row_q5_K_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats
from ggufkit.codecs.bits import (
    pack_bit_planes,
    pack_nibbles,
    unpack_bit_planes,
    unpack_nibbles,
)
from ggufkit.codecs.superblock import decode_scale_min, encode_scale_min
from ggufkit.types import TensorType

LAYOUT = np.dtype(
    [("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", 128)]
)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    codes = unpack_nibbles(blocks["qs"], 32)
    codes |= unpack_bit_planes(blocks["qh"]) << 4
    return decode_scale_min(blocks, codes)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 256, LAYOUT)
    codes = encode_scale_min(blocks, rows, importance, nmax=31, rmin=-0.5, nstep=15)
    blocks["qs"] = pack_nibbles(codes & 15, 32)
    blocks["qh"] = pack_bit_planes(codes >> 4)
    return blocks


Q5_K = Codec(TensorType.Q5_K, LAYOUT, decode, encode)
