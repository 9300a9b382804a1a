"""Q4_0: 32 weights share one scale; each weight is a 4-bit offset from -8.

::

    | d: float16 | qs: 16 bytes |

    w[j] = d * (q[j] - 8)
    qs: byte j holds weight j in its low, weight j + 16 in its high nibble

ggml: ``quantize_row_q4_0_ref``, with importance ``quantize_row_q4_0_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.legacy import decode_symmetric, encode_symmetric
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    return decode_symmetric(blocks, unpack_nibbles(blocks["qs"], 16), 8)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    d, codes = encode_symmetric(rows, importance, 8)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = pack_nibbles(codes, 16)
    return blocks


Q4_0 = Codec(TensorType.Q4_0, LAYOUT, decode, encode)
