"""Q8_1: Q8_0 with the sum of its weights, for ggml's dot products; it is not stored in files.

::

    | d: float16 | s: float16 | qs: 32 int8 |

    w[j] = d * qs[j]        s = d * sum(qs)

ggml: ``block_q8_1``. There is no ``quantize_chunk`` for it, so no encoder here.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("s", "<f2"), ("qs", "i1", 32)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out = blocks["qs"].astype(np.float32)
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


Q8_1 = Codec(TensorType.Q8_1, LAYOUT, decode)
