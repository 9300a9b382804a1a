"""The sixteen uneven levels of IQ4_NL and IQ4_XS, and the search for their scales.

ggml: ``kvalues_iq4nl``, ``best_index_int8``, ``quantize_row_iq4_nl_impl``.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import ZERO, signed_peak, sum_in_order
from ggufkit.codecs.base import Bytes, Floats
from ggufkit.codecs.search import GROUP_MAX_EPS

LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32
)
NTRY = 7


@cache
def _cells() -> tuple[NDArray[np.uint8], Floats]:
    """For each integer n from -128: the code of n, and where in [n, n + 1) the next one starts.

    Levels are more than 2 apart, so an interval between integers holds one boundary at most.
    """
    boundaries = np.array([_boundary(*pair) for pair in pairwise(LEVELS)])
    floors = np.arange(-128, 115, dtype=np.float32)
    codes = np.searchsorted(boundaries, floors, side="right")
    following = np.append(boundaries, np.float32(np.nan))[codes]  # no number reaches a NaN
    return codes.astype(np.uint8), following.astype(np.float32)


def _boundary(low: Any, high: Any) -> Any:
    """Smallest float32 that ``best_index_int8`` takes to `high`, not `low`: rounding counts."""
    boundary = (low + high) / np.float32(2)
    while True:
        below = np.nextafter(boundary, low)
        if below - low < high - below:
            return boundary
        boundary = below


def nearest(x: Floats) -> Bytes:
    """Find the code of the nearest level (``best_index_int8``); NaN gives the last."""
    codes, following = _cells()
    cell = np.floor(x)
    np.fmin(cell, np.float32(114), out=cell)  # also of a NaN
    cell += np.float32(128)
    index = cell.astype(np.intp)
    found = codes.take(index, mode="clip")
    found += x >= following.take(index, mode="clip")
    return found


def search_scale(x: Floats, weights: Floats) -> Floats:
    """Search the scale of ``x = scale * level``: planes (n, n_columns) -> (n_columns,)."""
    peak = signed_peak(x)
    dead = np.abs(peak) < GROUP_MAX_EPS
    peak[dead] = 1
    product = np.empty_like(x)

    def project(iscale: Floats) -> tuple[Floats, Floats]:
        levels = LEVELS.take(nearest(x * iscale))
        np.multiply(weights, levels, out=product)
        sumq2 = sum_in_order(product * levels)
        np.multiply(product, x, out=product)
        return sum_in_order(product), sumq2

    sumqx, sumq2 = project(np.float32(1) / (-peak / LEVELS[0]))
    scale = np.where(sumq2 > 0, sumqx / sumq2, ZERO)
    best = scale * sumqx
    for step in range(-NTRY, NTRY + 1):
        sumqx, sumq2 = project((np.float32(step) + LEVELS[0]) / peak)
        better = (sumq2 > 0) & (sumqx * sumqx > best * sumq2)
        scale = np.where(better, sumqx / sumq2, scale)
        best = np.where(better, scale * sumqx, best)
    scale[dead] = 0
    return scale


def nonzero_inverse(scale: Floats) -> Floats:
    """1 / scale, and 0 for 0."""
    return np.where(scale != 0, np.float32(1) / scale, ZERO)
