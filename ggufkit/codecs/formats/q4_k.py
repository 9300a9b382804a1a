"""Q4_K: 8 sub-blocks of 32 weights, each with a 6-bit scale and a 6-bit min.

::

    | d: float16 | dmin: float16 | scales: 12 bytes | qs: 128 bytes |

    w[j] = d * scale[s] * q[j] - dmin * min[s]        s = j // 32, q in 0..15
    qs: for each pair of sub-blocks 32 bytes, low nibbles the first, high nibbles the second
    scales: see `ggufkit.codecs.bits.pack_scales_k4`

ggml: ``quantize_row_q4_K_ref``, with importance ``quantize_row_q4_K_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.superblock import decode_scale_min, encode_scale_min
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    return decode_scale_min(blocks, unpack_nibbles(blocks["qs"], 32))


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 256, LAYOUT)
    codes = encode_scale_min(blocks, rows, importance, nmax=15, rmin=-1.0, nstep=20)
    blocks["qs"] = pack_nibbles(codes, 32)
    return blocks


Q4_K = Codec(TensorType.Q4_K, LAYOUT, decode, encode)
