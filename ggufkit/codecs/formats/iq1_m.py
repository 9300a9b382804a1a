"""IQ1_M: IQ1_S with sub-blocks of 16, and a delta for each group of eight.

::

    | qs: 32 bytes | qh: 16 bytes | scales: 4 x uint16 |

    w = d * (2 * l + 1) * (t + delta), t in {-1, 0, 1}
    qs: low eight bits of each group's point
    qh: per sub-block | delta of group 1 | high bits of its point: 3 | delta of group 0 | 3 |
        (a set bit means -1/8, else 1/8)
    scales: | a nibble of d | l: 3 bits | 3 | 3 | 3 |, four sub-blocks each, lowest bits first;
        the four nibbles, lowest first, are the float16 d

ggml: ``quantize_row_iq1_m_impl``; importance is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import sum_in_order
from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.bits import pack_nibbles, unpack_nibbles
from ggufkit.codecs.grid_search import block_scales, natural_points
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.superblock import block_mean_square, block_weights, require_importance
from ggufkit.codecs.ternary import (
    DELTA,
    DOWN,
    LEVELS,
    UP,
    BestSplit,
    point_levels,
    prefix_sums,
    sort_positions,
    split_codes,
    to_grid,
)
from ggufkit.types import TensorType

LAYOUT = np.dtype([("qs", "u1", 32), ("qh", "u1", 16), ("scales", "<u2", 4)])
GROUP_MAX_EPS_IQ1_M = np.float32(1e-7)

_SHIFTS = np.array([0, 3, 6, 9], np.uint16)
_NIBBLES = np.array([0, 4, 8, 12], np.uint16)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    packed = blocks["scales"]
    d = np.bitwise_or.reduce((packed >> 12) << _NIBBLES, axis=1).view(np.float16)
    codes = ((packed[:, :, None] >> _SHIFTS) & 7).reshape(-1, 16)
    scale = (codes * 2 + 1).astype(np.float32)
    scale *= d.astype(np.float32)[:, None]
    high = unpack_nibbles(blocks["qh"], 1)
    points = blocks["qs"] | ((high & 7).astype(np.uint16) << 8)
    out = LEVELS[grid("iq1_s").T][points]
    out += np.where(high & 8, -DELTA, DELTA)[:, :, None]
    by_sub: Floats = out.reshape(-1, 16, 16)
    by_sub *= scale[:, :, None]
    return by_sub.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 16, 16)
    sigma2 = np.float32(2) * block_mean_square(x, 16)
    weights = block_weights(x, require_importance(importance), 16, sigma2)
    largest = np.maximum.reduce(np.abs(x), axis=0)
    order = sort_positions(x)
    best = _search(x, weights, order, largest.copy())
    dead = (largest < GROUP_MAX_EPS_IQ1_M) | (best.first < 0)
    codes = split_codes(order, best)
    variant = np.where(best.scale < 0, 3 - best.variant, best.variant)
    variant[dead] = 0
    down = np.stack([variant >= 2, variant % 2 == 1])
    delta = np.where(down, -DELTA, DELTA)
    points, scale = to_grid(codes, x, weights, np.abs(best.scale), delta)
    points[:, dead], scale[dead] = 0, 0
    first_d, scales = block_scales(scale, 16, largest=7)
    zero = first_d == 0
    d = _fit_block_scale(x, weights, point_levels(points, delta), scales, first_d)
    ordered = natural_points(points, 16)
    deltas = natural_points(down, 16)
    deltas[zero] = 0
    blocks = np.empty(zero.size, LAYOUT)
    blocks["qs"] = ordered & 255
    blocks["qh"] = pack_nibbles(((ordered >> 8) | (deltas << 3)).astype(np.uint8), 1)
    packed = np.bitwise_or.reduce(scales.astype(np.uint16).reshape(-1, 4, 4) << _SHIFTS, axis=2)
    d_bits = half(d * np.float32(1.1125)).view(np.uint16)
    packed |= (d_bits[:, None] >> _NIBBLES) << 12
    packed[zero] = 0
    blocks["scales"] = packed
    return blocks


def _search(x: Floats, weights: Floats, order: NDArray[np.intp], largest: Floats) -> BestSplit:
    # Sums are kept for each half of the sub-block, as each has its own delta.
    sorted_weights = np.take_along_axis(weights, order, axis=0)
    sorted_x = sorted_weights * np.take_along_axis(x, order, axis=0)
    sums = []
    for mine in (order < 8, order >= 8):
        zeros = np.float32(0)
        px = prefix_sums(np.where(mine, sorted_x, zeros))
        pw = prefix_sums(np.where(mine, sorted_weights, zeros))
        sums.append((px, pw))
    best = BestSplit(largest)
    for first in range(17):
        fits = [[_fit(px, pw, first, levels) for levels in (UP, DOWN)] for px, pw in sums]
        variants = []
        for variant in range(4):
            one, other = fits[0][variant // 2], fits[1][variant % 2]
            sumqx = one[0] + other[0]
            variants.append((sumqx, sumqx * sumqx, one[1] + other[1]))
        for i, second in enumerate(range(first, 17)):
            for variant, (sumqx, squared, sumq2) in enumerate(variants):
                best.offer(sumqx[i], squared[i], sumq2[i], (first, second), variant)
    return best


def _fit(px: Floats, pw: Floats, first: int, levels: Floats) -> tuple[Floats, Floats]:
    """Sums of a half for all second boundaries, in the form that ggml uses."""
    low, middle, high = levels
    sumqx = px[16] * high - (px[first] + px[first:])
    sumq2 = pw[16] * high * high + pw[first] * (low * low - middle * middle)
    return sumqx, sumq2 + pw[first:] * (middle * middle - high * high)


def _fit_block_scale(
    x: Floats, weights: Floats, levels: Floats, scales: NDArray[np.uint8], d: Floats
) -> Floats:
    """Fit d to the whole super-block, its weights in order."""
    multiples = (2 * scales.T.astype(np.float32) + 1).reshape(-1)
    levels = levels * multiples
    weighted = weights * levels
    sumqx = sum_in_order(_in_order(weighted * x))
    sumq2 = sum_in_order(_in_order(weighted * levels))
    return np.where(sumq2 > 0, sumqx / sumq2, d)


def _in_order(terms: Floats) -> Floats:
    """Planes of sub-blocks (16, 16 * n_blocks) -> of super-blocks (256, n_blocks)."""
    by_sub = terms.reshape(16, 16, -1).transpose(1, 0, 2)
    return np.ascontiguousarray(by_sub).reshape(256, -1)


IQ1_M = Codec(TensorType.IQ1_M, LAYOUT, decode, encode, needs_importance=True)
