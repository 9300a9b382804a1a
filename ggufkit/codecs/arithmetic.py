"""ggml's arithmetic in numpy: its rounding, and its sums in the order it adds.

Planes (see `ggufkit.codecs.base`) are x (n, n_columns) float32, one sub-block per column; a
function of planes gives one result per column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.base import Floats

ZERO = np.float32(0)
_MAGIC = np.float32(12582912)  # 1.5 * 2**23: adding it leaves the integer in the mantissa


def nearest_int(x: Floats) -> NDArray[np.int32]:
    """Round half to even as ggml's ``nearest_int``, also where it overflows (infinity, NaN)."""
    bits: NDArray[np.int32] = (x + _MAGIC).view(np.int32)
    bits &= 0x007FFFFF
    bits -= 0x00400000
    return bits


def round_half_away(x: Floats) -> Floats:
    """Round as C's ``roundf``, in place, |x| below 2**22; the result is still to be truncated."""
    bits = x.view(np.uint32)
    # The largest float below one half, with the sign of x: what is added before truncation.
    below_half = bits & np.uint32(0x80000000)
    below_half |= np.uint32(0x3EFFFFFF)
    x += below_half.view(np.float32)
    return x


def sum_in_order(terms: Floats, start: float = 0.0) -> Floats:
    """Add the rows of `terms` (n, n_columns) one after the other to `start`.

    A start of -0.0 means "begin with the first term", which keeps the sign of a zero.
    """
    if terms.shape[1] < 16:
        # With few columns numpy could choose to add pairwise along the column.
        total: Floats = np.add.accumulate(terms, axis=0)[-1]
        total += np.float32(start)
    else:
        total = np.add.reduce(terms, axis=0, initial=np.float32(start))
    return total


def abs_max(x: Floats) -> Floats:
    """Return the largest magnitude of each row of x (n_blocks, block_size)."""
    # As integers, the bits of positive floats are in the same order, and faster to compare.
    magnitudes = x.view(np.int32) & np.int32(0x7FFFFFFF)
    largest: Floats = magnitudes.max(axis=1).view(np.float32)
    return largest


def inverse(d: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return 1 / d, with 0 for 0 and on overflow; and where it overflows.

    ggml multiplies with the infinity and casts to an integer, which makes 0 of what results.
    """
    quotient: Floats = np.where(d == 0, ZERO, np.float32(1) / d)
    overflow = ~np.isfinite(quotient)
    quotient[overflow] = 0
    return quotient, overflow


def signed_peak(x: Floats) -> Floats:
    """Return each column's value of largest magnitude, the first of equal ones."""
    high: Floats = np.maximum.reduce(x, axis=0)
    low: Floats = np.minimum.reduce(x, axis=0)
    peak = np.where(high > -low, high, low)
    tied = np.flatnonzero(high == -low)
    if tied.size:
        peak[tied] = x[np.argmax(np.abs(x[:, tied]), axis=0), tied]
    return peak + ZERO  # ggml's starts at +0, which -0 does not replace


def first_min(x: Floats) -> Floats:
    """Return each column's minimum; of zeros of both signs, the first one."""
    low: Floats = np.minimum.reduce(x, axis=0)
    zero = np.flatnonzero(low == 0)
    if zero.size:
        low[zero] = x[np.argmin(x[:, zero], axis=0), zero]
    return low


def sigma_weights(x: Floats, importance: Floats, sigma2: Floats) -> Floats:
    """Weigh a weight by its importance and its size: ``qw * sqrt(sigma2 + x * x)``.

    Parameters
    ----------
    x, importance : (n, n_columns) float32
        Planes.
    sigma2 : (n_columns,) float32
        Mean square of the weights around.
    """
    weights = x * x
    weights += sigma2
    np.sqrt(weights, out=weights)
    weights *= importance
    return weights


def row_mean_square(rows: Floats) -> Floats:
    """Mean of the squares of each row, summed in order: (n_rows, n_cols) -> (n_rows,)."""
    squares = rows * rows
    np.add.accumulate(squares, axis=1, out=squares)
    mean: Floats = squares[:, -1] / np.float32(rows.shape[1])
    return mean
