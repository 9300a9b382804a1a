"""Q3_K: 16 sub-blocks of 16 weights, each with a 6-bit signed scale.

::

    | hmask: 32 bytes | qs: 64 bytes | scales: 12 bytes | d: float16 |

    w[j] = d * (scale[s] - 32) * (q[j] - 4)        s = j // 16, q in 0..7
    qs: low two bits, as in Q2_K
    hmask: bit k of byte i is the third bit of weight 32 * k + i
    scales: see `ggufkit.codecs.bits.pack_scales_k3`

ggml: ``quantize_row_q3_K_ref``, with importance ``quantize_row_q3_K_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import nearest_int, signed_peak, sum_in_order
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats, half, natural, planes
from ggufkit.codecs.bits import (
    pack_bit_planes,
    pack_crumbs,
    pack_scales_k3,
    unpack_bit_planes,
    unpack_crumbs,
    unpack_scales_k3,
)
from ggufkit.codecs.search import make_q3_quants, make_qx_quants
from ggufkit.codecs.superblock import block_mean_square, block_weights, requantize
from ggufkit.types import TensorType

LAYOUT = np.dtype([("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    scales = unpack_scales_k3(blocks["scales"]).astype(np.float32) - np.float32(32)
    scales *= blocks["d"].astype(np.float32)[:, None]
    codes = unpack_crumbs(blocks["qs"])
    codes |= unpack_bit_planes(blocks["hmask"]) << 2
    out = codes.astype(np.float32).reshape(-1, 16, 16)
    out -= np.float32(4)
    out *= scales[:, :, None]
    return out.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 256, LAYOUT)
    x = planes(rows, 16, 16)
    if importance is None:
        scale, codes = make_q3_quants(x, 4)
        d, scales = _scales_by_peak(scale)
    else:
        sigma2 = np.float32(2) * block_mean_square(x, 16)
        weights = block_weights(x, importance, 16, sigma2)
        scale, codes = make_qx_quants(x, weights, 4)
        sum_w = sum_in_order(weights).reshape(16, -1)
        d, scale_codes = make_qx_quants(scale.reshape(16, -1), sum_w, 32)
        scales = scale_codes.astype(np.uint8)
    blocks["d"] = half(d)
    blocks["scales"] = pack_scales_k3(scales.T)
    signed = scales.astype(np.float32) - np.float32(32)
    stored = (blocks["d"].astype(np.float32) * signed).reshape(-1)
    final = natural(requantize(x, codes, stored, -4, 3), 16)
    blocks["hmask"] = pack_bit_planes(final >> 2)
    blocks["qs"] = pack_crumbs(final & 3)
    return blocks


def _scales_by_peak(values: Floats) -> tuple[Floats, Bytes]:
    """Make the largest of 16 scales -32, stored as 0: (n_blocks,) d and (16, n_blocks) codes."""
    by_sub = values.reshape(16, -1)
    peak = signed_peak(by_sub)
    inverse = np.float32(-32) / peak
    scales = (np.clip(nearest_int(by_sub * inverse).astype(np.int8), -32, 31) + 32).astype(np.uint8)
    dead = peak == 0
    scales[:, dead] = 0
    return np.where(dead, np.float32(0), 1 / inverse), scales


Q3_K = Codec(TensorType.Q3_K, LAYOUT, decode, encode)
