"""Q2_K: 16 sub-blocks of 16 weights, each with a 4-bit scale and a 4-bit min.

::

    | scales: 16 bytes | qs: 64 bytes | d: float16 | dmin: float16 |

    w[j] = d * (scales[s] & 15) * q[j] - dmin * (scales[s] >> 4)      s = j // 16, q in 0..3
    qs: for each half 32 bytes; bits 2k+1..2k of byte i are weight 32 * k + i of the half

ggml: ``quantize_row_q2_K_ref``, with importance ``quantize_row_q2_K_impl``.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import ZERO, nearest_int, sum_in_order
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats, half, natural, planes
from ggufkit.codecs.bits import pack_crumbs, unpack_crumbs
from ggufkit.codecs.search import make_qkx2_quants, make_qp_quants
from ggufkit.codecs.superblock import block_mean_square, block_weights, requantize
from ggufkit.types import TensorType

LAYOUT = np.dtype([("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")])


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    scale = blocks["d"].astype(np.float32)[:, None] * (blocks["scales"] & 15)
    minimum = blocks["dmin"].astype(np.float32)[:, None] * (blocks["scales"] >> 4)
    out = unpack_crumbs(blocks["qs"]).astype(np.float32).reshape(-1, 16, 16)
    out *= scale[:, :, None]
    out -= minimum[:, :, None]
    return out.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    blocks = np.empty(rows.size // 256, LAYOUT)
    x = planes(rows, 16, 16)
    if importance is None:
        scale, minimum, codes = make_qkx2_quants(
            x, np.abs(x), 3, rmin=-0.5, rdelta=0.1, nstep=15, use_mad=True
        )
        d, scales = _scales_by_largest(scale)
        dmin, mins = _scales_by_largest(minimum)
        scales |= mins << 4
    else:
        weights = block_weights(x, importance, 16, block_mean_square(x, 16))
        scale, minimum, codes = make_qkx2_quants(x, weights, 3, rmin=-0.9, rdelta=0.05, nstep=36)
        sum_w = sum_in_order(weights).reshape(16, -1)
        d, scale_codes = make_qp_quants(scale.reshape(16, -1), sum_w, 15)
        dmin, min_codes = make_qp_quants(minimum.reshape(16, -1), sum_w, 15)
        scales = scale_codes.astype(np.uint8) | (min_codes.astype(np.uint8) << 4)
    blocks["d"], blocks["dmin"], blocks["scales"] = half(d), half(dmin), scales.T
    stored_scale = (blocks["d"].astype(np.float32) * (scales & 15)).reshape(-1)
    stored_min = (blocks["dmin"].astype(np.float32) * (scales >> 4)).reshape(-1)
    blocks["qs"] = pack_crumbs(natural(requantize(x, codes, stored_scale, 0, 3, stored_min), 16))
    return blocks


def _scales_by_largest(values: Floats) -> tuple[Floats, Bytes]:
    """Make the largest of 16 scales 15: ((n_blocks,), (16, n_blocks)) from (16 * n_blocks,)."""
    by_sub = values.reshape(16, -1)
    largest = np.maximum(np.maximum.reduce(by_sub, axis=0), ZERO)
    inverse = np.where(largest > 0, np.float32(15) / largest, ZERO)
    return largest / np.float32(15), nearest_int(by_sub * inverse).astype(np.uint8)


Q2_K = Codec(TensorType.Q2_K, LAYOUT, decode, encode)
