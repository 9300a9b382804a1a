"""Q8_K: 256 signed bytes and their sums, for ggml's dot products; it is not stored in files.

::

    | d: float32 | qs: 256 int8 | bsums: 16 int16 |

    w[j] = d * qs[j]        bsums[s] = sum of qs[16 * s ..]

ggml: ``dequantize_row_q8_K``. There is no ``quantize_chunk`` for it, so no encoder here.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Blocks, Codec, Floats
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f4"), ("qs", "i1", 256), ("bsums", "<i2", 16)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out = blocks["qs"].astype(np.float32)
    out *= blocks["d"][:, None]
    return out


Q8_K = Codec(TensorType.Q8_K, LAYOUT, decode)
