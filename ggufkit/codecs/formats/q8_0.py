"""Q8_0: 32 weights share one scale; each weight is a signed byte.

::

    | d: float16 | qs: 32 int8 |

    w[j] = d * qs[j]

ggml: ``quantize_row_q8_0_ref``; importance is not used.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import abs_max, inverse, round_half_away
from ggufkit.codecs.base import Blocks, Codec, Floats, half
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "i1", 32)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out = blocks["qs"].astype(np.float32)
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 32)
    d = abs_max(x) / np.float32(127)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = round_half_away(x * inverse(d)[0][:, None])
    return blocks


Q8_0 = Codec(TensorType.Q8_0, LAYOUT, decode, encode)
