"""Q1_0: 128 weights share one scale; each weight is its sign.

::

    | d: float16 | qs: 16 bytes |

    w[j] = d if bit j is set else -d
    qs: bit j, counted from the lowest of byte 0

ggml: ``quantize_row_q1_0_ref``; importance is not used.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import sum_in_order
from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.bits import pack_bits, unpack_bits
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    d = blocks["d"].astype(np.float32)[:, None]
    return np.where(unpack_bits(blocks["qs"]), d, -d)


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 128, LAYOUT)
    blocks["d"] = half(sum_in_order(np.abs(planes(rows, 128))) / np.float32(128))
    blocks["qs"] = pack_bits(rows.reshape(-1, 128) >= 0)
    return blocks


Q1_0 = Codec(TensorType.Q1_0, LAYOUT, decode, encode)
