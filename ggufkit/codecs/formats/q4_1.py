"""Q4_1: 32 weights share a scale and a minimum; each weight is a 4-bit step above it.

::

    | d: float16 | m: float16 | qs: 16 bytes |

    w[j] = d * q[j] + m
    qs: as in Q4_0

ggml: ``quantize_row_q4_1_ref``, with importance ``quantize_row_q4_1_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.legacy import decode_affine, encode_affine
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    return decode_affine(blocks, unpack_nibbles(blocks["qs"], 16))


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    d, m, codes = encode_affine(rows, importance, 15)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"], blocks["m"] = half(d), half(m)
    blocks["qs"] = pack_nibbles(codes, 16)
    return blocks


Q4_1 = Codec(TensorType.Q4_1, LAYOUT, decode, encode)
