"""IQ4_NL: 32 weights share one scale; each is one of sixteen unevenly spaced levels.

::

    | d: float16 | qs: 16 bytes |

    w[j] = d * LEVELS[q[j]]        see `ggufkit.codecs.nonlinear`
    qs: byte j holds weight j in its low, weight j + 16 in its high nibble

ggml: ``quantize_iq4_nl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import sigma_weights, sum_in_order
from ggufkit.codecs.base import Blocks, Codec, Floats, half, importance_planes, natural, planes
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.nonlinear import LEVELS, nearest, nonzero_inverse, search_scale
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out: Floats = LEVELS[unpack_nibbles(blocks["qs"], 16)]
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32)
    weights = x * x
    if importance is not None:
        sigma2 = sum_in_order(weights) * np.float32(2 / 32)
        weights = sigma_weights(x, importance_planes(importance, len(rows), 32), sigma2)
    d = search_scale(x, weights)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = pack_nibbles(natural(nearest(x * nonzero_inverse(d))), 16)
    return blocks


IQ4_NL = Codec(TensorType.IQ4_NL, LAYOUT, decode, encode)
