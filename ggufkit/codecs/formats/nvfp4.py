"""NVFP4: four groups of 16 four-bit floats, each with an 8-bit float scale.

::

    | d: 4 x UE4M3 | qs: 32 bytes |

    w[j] = UE4M3(d[s]) * E2M1(q[j])        s = j // 16
    qs: 8 bytes per group; byte i holds weight i in its low, weight i + 8 in its high nibble
    UE4M3: | exponent 4, bias 7 | mantissa 3 |, 0x7f is 0

ggml: ``quantize_row_nvfp4_ref``; importance is not used. A scale here is half of that, as the
values of `ggufkit.codecs.fp4` are doubled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import abs_max
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.fp4 import VALUES, nearest
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "u1", 4), ("qs", "u1", 32)])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    out: Floats = VALUES[unpack_nibbles(blocks["qs"], 8)].reshape(-1, 4, 16)
    out *= half_scale(blocks["d"])[:, :, None]
    return out.reshape(-1, 64)


def encode(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    """Encode rows; see `Codec`."""
    x = rows.reshape(-1, 16)
    d = to_ue4m3(abs_max(x) / np.float32(6))
    blocks = np.empty(len(x) // 4, LAYOUT)
    blocks["d"] = d.reshape(-1, 4)
    blocks["qs"] = pack_nibbles(nearest(x, half_scale(d)), 8).reshape(-1, 32)
    return blocks


def half_scale(codes: Bytes) -> Floats:
    """Half of a UE4M3 scale (``ggml_ue4m3_to_fp32``)."""
    exponent, mantissa = (codes >> 3) & 15, (codes & 7).astype(np.float32)
    fraction = np.where(exponent == 0, mantissa, mantissa + np.float32(8))
    raw = np.ldexp(fraction, np.maximum(exponent, 1).astype(np.int32) - 11)
    return np.where(codes == 0x7F, np.float32(0), raw)


def to_ue4m3(x: Floats) -> Bytes:
    """Round positive floats to UE4M3 (``ggml_fp32_to_ue4m3``): ties go up, and all from 248 to 448.

    448 is the largest value; ggml does not use the others of the highest exponent.
    """
    bits: NDArray[Any] = x.view(np.int32)
    # Exponent and upper three mantissa bits, the next bit rounding up into them.
    normal = (bits >> 20) + ((bits >> 19) & 1) - ((127 - 7) << 3)
    subnormal = np.minimum((x * np.float32(512) + np.float32(0.5)).astype(np.int32), 7)
    tiny = (bits >> 23) <= 127 - 7
    return np.where(tiny, subnormal, np.where(normal < 15 << 3, normal, 0x7E)).astype(np.uint8)


NVFP4 = Codec(TensorType.NVFP4, LAYOUT, decode, encode)
