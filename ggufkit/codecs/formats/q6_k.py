"""Q6_K: 16 sub-blocks of 16 weights, each with an 8-bit signed scale.

::

    | ql: 128 bytes | qh: 64 bytes | scales: 16 int8 | d: float16 |

    w[j] = d * scales[s] * (q[j] - 32)        s = j // 16, q in 0..63
    ql: low four bits; for each half 64 bytes, low nibbles weights 0-63, high nibbles 64-127
    qh: high two bits; for each half 32 bytes; bits 2k+1..2k of byte i are weight 32 * k + i

ggml: ``quantize_row_q6_K_ref``, with importance ``quantize_row_q6_K_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import nearest_int, signed_peak
from ggufkit.codecs.base import Blocks, Codec, Floats, half, importance_planes, natural, planes
from ggufkit.codecs.bits import pack_crumbs, pack_nibbles, unpack_crumbs, unpack_nibbles
from ggufkit.codecs.search import GROUP_MAX_EPS, make_qx_quants
from ggufkit.codecs.superblock import requantize
from ggufkit.types import TensorType

LAYOUT = np.dtype([("ql", "u1", 128), ("qh", "u1", 64), ("scales", "i1", 16), ("d", "<f2")])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    codes = unpack_nibbles(blocks["ql"], 64)
    codes |= unpack_crumbs(blocks["qh"]) << 4
    out = codes.astype(np.float32).reshape(-1, 16, 16)
    out -= np.float32(32)
    out *= (blocks["d"].astype(np.float32)[:, None] * blocks["scales"])[:, :, None]
    return out.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 256, LAYOUT)
    x = planes(rows, 16, 16)
    if importance is None:
        weights = x * x
    else:
        weights = importance_planes(importance, x.size // importance.size, 16, 16)
    scale, codes = make_qx_quants(x, weights, 32)
    by_sub = scale.reshape(16, -1)
    peak = signed_peak(by_sub)
    inverse = np.float32(-128) / peak
    scales = np.minimum(nearest_int(by_sub * inverse), 127).astype(np.int8)
    blocks["d"], blocks["scales"] = half(1 / inverse), scales.T
    stored = (blocks["d"].astype(np.float32) * scales).reshape(-1)
    final = natural(requantize(x, codes, stored, -32, 31), 16)
    blocks["ql"] = pack_nibbles(final & 15, 64)
    blocks["qh"] = pack_crumbs(final >> 4)
    blocks[np.abs(peak) < GROUP_MAX_EPS] = np.zeros((), LAYOUT)
    return blocks


Q6_K = Codec(TensorType.Q6_K, LAYOUT, decode, encode)
