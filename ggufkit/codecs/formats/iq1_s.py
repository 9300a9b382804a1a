"""IQ1_S: groups of eight ternary weights are one of 2048 grid points.

::

    | d: float16 | qs: 32 bytes | qh: 8 x uint16 |        one per sub-block of 32

    w = d * (2 * l + 1) * (t + delta), t in {-1, 0, 1}
    qs: low eight bits of each group's point
    qh: | delta: 1 bit | l: 3 bits | high bits of the points of groups 3, 2, 1, 0: 3 bits each |
        (delta is -1/8 if its bit is set, else 1/8)

ggml: ``quantize_row_iq1_s_impl``; importance is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.base import Blocks, Codec, Floats, half, planes
from ggufkit.codecs.grid_search import block_scales, natural_points
from ggufkit.codecs.lattice import grid
from ggufkit.codecs.superblock import block_mean_square, block_weights, require_importance
from ggufkit.codecs.ternary import (
    DELTA,
    DOWN,
    LEVELS,
    UP,
    BestSplit,
    prefix_sums,
    sort_positions,
    split_codes,
    to_grid,
)
from ggufkit.types import TensorType

LAYOUT = np.dtype([("d", "<f2"), ("qs", "u1", 32), ("qh", "<u2", 8)])
GROUP_MAX_EPS_IQ1_S = np.float32(1e-12)

_SHIFTS = np.array([0, 3, 6, 9], np.uint16)


def decode(blocks: Blocks) -> Floats:
    """Decode blocks; see `Codec`."""
    qh = blocks["qh"]
    scale = (((qh >> 12) & 7) * 2 + 1).astype(np.float32)
    scale *= blocks["d"].astype(np.float32)[:, None]
    delta = np.where(qh & 0x8000, -DELTA, DELTA)
    high = ((qh[:, :, None] >> _SHIFTS) & 7).reshape(-1, 32)
    out: Floats = LEVELS[grid("iq1_s").T][blocks["qs"] | (high << 8)].reshape(-1, 8, 32)
    out += delta[:, :, None]
    out *= scale[:, :, None]
    return out.reshape(-1, 256)


def encode(rows: Floats, importance: Floats | None) -> Blocks:
    """Encode rows; see `Codec`."""
    x = planes(rows, 32, 8)
    sigma2 = np.float32(2) * block_mean_square(x, 8)
    weights = block_weights(x, require_importance(importance), 8, sigma2)
    largest = np.maximum.reduce(np.abs(x), axis=0)
    order = sort_positions(x)
    best = _search(x, weights, order, largest.copy())
    dead = (largest < GROUP_MAX_EPS_IQ1_S) | (best.first < 0)
    codes = split_codes(order, best)
    down = (best.variant == 1) ^ (best.scale < 0)
    delta = np.broadcast_to(np.where(down, -DELTA, DELTA), (4, down.size))
    points, scale = to_grid(codes, x, weights, np.abs(best.scale), delta)
    points[:, dead], scale[dead], down[dead] = 0, 0, False
    d, scales = block_scales(scale, 8, fudge=1.125, largest=7)
    ordered = natural_points(points, 8)
    blocks = np.empty(d.size, LAYOUT)
    blocks["d"] = half(d)
    blocks["qs"] = ordered & 255
    high = np.bitwise_or.reduce((ordered >> 8).reshape(-1, 8, 4) << _SHIFTS, axis=2)
    top = scales.astype(np.uint16) | (down.reshape(8, -1).T.astype(np.uint16) << 3)
    top[d == 0] = 0
    blocks["qh"] = high | (top << 12)
    return blocks


def _search(x: Floats, weights: Floats, order: NDArray[np.intp], largest: Floats) -> BestSplit:
    sorted_weights = np.take_along_axis(weights, order, axis=0)
    sumx = prefix_sums(sorted_weights * np.take_along_axis(x, order, axis=0))
    sumw = prefix_sums(sorted_weights)
    best = BestSplit(largest)
    for first in range(33):
        fits = []
        for low, middle, high in (UP, DOWN):
            sumqx = sumx[first] * low + (sumx[first:] - sumx[first]) * middle
            sumqx += (sumx[32] - sumx[first:]) * high
            sumq2 = sumw[first] * low * low + (sumw[first:] - sumw[first]) * middle * middle
            sumq2 += (sumw[32] - sumw[first:]) * high * high
            fits.append((sumqx, sumqx * sumqx, sumq2))
        for i, second in enumerate(range(first, 33)):
            for variant, (sumqx, squared, sumq2) in enumerate(fits):
                best.offer(sumqx[i], squared[i], sumq2[i], (first, second), variant)
    return best


IQ1_S = Codec(TensorType.IQ1_S, LAYOUT, decode, encode, needs_importance=True)
