"""MXFP4: 32 four-bit floats share a power of two.

::

    | e: uint8 | qs: 16 bytes |

    w[j] = 2**(e - 127) * E2M1(q[j])
    qs: byte j holds weight j in its low, weight j + 16 in its high nibble

ggml: ``quantize_row_mxfp4_ref``; importance is not used. The scale here is half of that, as the
values of `ggufkit.codecs.fp4` are doubled.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import abs_max
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.fp4 import VALUES, nearest
from ggufkit.types import TensorType

LAYOUT = np.dtype([("e", "u1"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out: Floats = VALUES[unpack_nibbles(blocks["qs"], 16)]
    out *= half_scale(blocks["e"])[:, None]
    return out


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 32)
    largest = abs_max(x)
    # C's log2f, rounded to float32 before floor: just below a power of two it gives the power.
    exponent = np.floor(np.log2(largest.astype(np.float64)).astype(np.float32))
    blocks = np.empty(len(x), LAYOUT)
    blocks["e"] = np.where(largest > 0, exponent + np.float32(125), 0).astype(np.int32)
    blocks["qs"] = pack_nibbles(nearest(x, half_scale(blocks["e"])), 16)
    return blocks


def half_scale(e: Bytes) -> Floats:
    """Half of an E8M0 scale, ``2**(e - 128)`` (``ggml_e8m0_to_fp32_half``)."""
    normal = (e.astype(np.int32) - 1) << 23
    bits = np.where(e < 2, np.int32(0x00200000) << e, normal)
    return bits.view(np.float32)


MXFP4 = Codec(TensorType.MXFP4, LAYOUT, decode, encode)
