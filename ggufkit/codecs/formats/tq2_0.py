"""TQ2_0: 256 weights of -1, 0 or 1 times one scale; two bits each.

::

    | qs: 64 bytes | d: float16 |

    w[j] = d * (q[j] - 1)
    qs: for each half 32 bytes; bits 2k+1..2k of byte i are weight 32 * k + i of the half

ggml: ``quantize_row_tq2_0_ref``; importance is not used.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import abs_max, inverse, round_half_away
from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_crumbs, unpack_crumbs
from ggufkit.types import TensorType

LAYOUT = np.dtype([("qs", "u1", 64), ("d", "<f2")])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out = unpack_crumbs(blocks["qs"]).astype(np.float32)
    out -= np.float32(1)
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 256)
    d = abs_max(x)
    codes = round_half_away(x * inverse(d)[0][:, None]).astype(np.int8) + np.int8(1)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = pack_crumbs(codes.view(np.uint8))
    return blocks


TQ2_0 = Codec(TensorType.TQ2_0, LAYOUT, decode, encode)
