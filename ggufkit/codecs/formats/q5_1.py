"""Q5_1: Q4_1 with a fifth bit per weight.

::

    | d: float16 | m: float16 | qh: 4 bytes | qs: 16 bytes |

    w[j] = d * q[j] + m
    qs, qh: as in Q5_0

ggml: ``quantize_row_q5_1_ref``, with importance ``quantize_row_q5_1_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_bits, pack_nibbles, unpack_bits, unpack_nibbles
from ggufkit.codecs.legacy import decode_affine, encode_affine
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    codes = unpack_nibbles(blocks["qs"], 16)
    codes |= unpack_bits(blocks["qh"]) << 4
    return decode_affine(blocks, codes)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    d, m, codes = encode_affine(rows, importance, 31)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"], blocks["m"] = half(d), half(m)
    blocks["qs"] = pack_nibbles(codes & 15, 16)
    blocks["qh"] = pack_bits(codes >> 4)
    return blocks


Q5_1 = Codec(TensorType.Q5_1, LAYOUT, decode, encode)
