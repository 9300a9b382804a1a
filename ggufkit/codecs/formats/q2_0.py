"""Q2_0: 64 weights share one scale; each weight is -1, 0, 1 or 2 of it.

::

    | d: float16 | qs: 16 bytes |

    w[j] = d * (q[j] - 1)
    qs: bits 2k+1..2k of byte i are weight 4 * i + k

ggml: ``quantize_row_q2_0_ref``; importance is not used.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import abs_max, inverse, round_half_away
from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.codecs.bits import pack_crumbs, unpack_crumbs
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    codes = unpack_crumbs(blocks["qs"], 1).astype(np.float32)
    codes -= np.float32(1)
    codes *= blocks["d"].astype(np.float32)[:, None]
    return codes


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 64)
    d = abs_max(x)
    scale, overflow = inverse(d)
    codes = round_half_away(x * scale[:, None]).astype(np.int8) + np.int8(1)
    codes[overflow] = 0  # ggml's cast to int makes the lowest code of every such product
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = pack_crumbs(codes.view(np.uint8), 1)
    return blocks


Q2_0 = Codec(TensorType.Q2_0, LAYOUT, decode, encode)
