"""Q5_0: Q4_0 with a fifth bit per weight.

::

    | d: float16 | qh: 4 bytes | qs: 16 bytes |

    w[j] = d * (q[j] - 16)
    qs: low four bits, as in Q4_0
    qh: bit j, counted from the lowest of byte 0, is the fifth bit of weight j

ggml: ``quantize_row_q5_0_ref``, with importance ``quantize_row_q5_0_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_bits, pack_nibbles, unpack_bits, unpack_nibbles
from ggufkit.codecs.legacy import decode_symmetric, encode_symmetric
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    codes = unpack_nibbles(blocks["qs"], 16)
    codes |= unpack_bits(blocks["qh"]) << 4
    return decode_symmetric(blocks, codes, 16)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    d, codes = encode_symmetric(rows, importance, 16)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = pack_nibbles(codes & 15, 16)
    blocks["qh"] = pack_bits(codes >> 4)
    return blocks


Q5_0 = Codec(TensorType.Q5_0, LAYOUT, decode, encode)
