"""The scale searches that quantized types share, named as in ggml-quants.c.

All work on planes (see `ggufkit.codecs.base`): x (n, n_columns) float32, one sub-block per column,
and give one result per column. `np.rint` stands for ``nearest_int`` wherever the argument is
known to be small.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import ZERO, first_min, nearest_int, signed_peak, sum_in_order
from ggufkit.codecs.base import Floats

GROUP_MAX_EPS = np.float32(1e-15)

_SAFE = np.float32(4e6)  # nearest_int is np.rint below 2**22


def make_qx_quants(x: Floats, weights: Floats, nmax: int) -> tuple[Floats, Floats]:
    """Search the scale of ``x = scale * l`` with l in [-nmax, nmax) (``make_qx_quants``).

    Parameters
    ----------
    x : (n, n_columns) float32
        Sub-blocks.
    weights : (n, n_columns) float32
        What an error counts; ggml's rmse_type 1 means x * x.
    nmax : int
        Half the number of levels.

    Returns
    -------
    scale : (n_columns,) float32
        Has the sign opposite to the largest weight; 0 for a column of zeros.
    codes : (n, n_columns) float32
        l + nmax; 0 for a column of zeros.
    """
    peak = signed_peak(x)
    dead = np.abs(peak) < GROUP_MAX_EPS
    peak[dead] = np.inf  # makes every inverse scale, code and sum of the column 0
    weighted = weights * x
    codes, term = np.empty_like(x), np.empty_like(x)

    def project(iscale: Floats) -> tuple[Floats, Floats]:
        _round_into(codes, x, iscale, -nmax, nmax - 1)
        sumlx = sum_in_order(np.multiply(weighted, codes, out=term))
        np.multiply(weights, codes, out=term)
        return sumlx, sum_in_order(np.multiply(term, codes, out=term))

    best_iscale = np.float32(-nmax) / peak
    sumlx, suml2 = project(best_iscale)
    scale = np.where(suml2 != 0, sumlx / suml2, ZERO)
    best = scale * sumlx
    for step in (*range(-9, 0), *range(1, 10)):
        iscale = -(np.float32(nmax) + np.float32(0.1) * np.float32(step)) / peak
        sumlx, suml2 = project(iscale)
        better = (suml2 > 0) & (sumlx * sumlx > best * suml2)
        scale = np.where(better, sumlx / suml2, scale)
        best = np.where(better, scale * sumlx, best)
        best_iscale = np.where(better, iscale, best_iscale)
    _round_into(codes, x, best_iscale, -nmax, nmax - 1)
    codes += np.float32(nmax)
    codes[:, dead] = 0
    return scale, codes


def make_qkx2_quants(
    x: Floats,
    weights: Floats,
    nmax: int,
    *,
    rmin: float,
    rdelta: float,
    nstep: int,
    use_mad: bool = False,
) -> tuple[Floats, Floats, Floats]:
    """Search scale and min of ``x = scale * l - min``, l in [0, nmax].

    ``make_qkx2_quants``; with weights given, ``make_qkx3_quants`` is the same function.

    Parameters
    ----------
    x, weights : (n, n_columns) float32
        Sub-blocks and what an error counts.
    nmax : int
        Largest code.
    rmin, rdelta, nstep : float, float, int
        Inverse scales tried: ``(nmax + rmin + rdelta * i) / (max - min)``, i = 0..nstep.
    use_mad : bool
        Minimize the absolute instead of the squared error.

    Returns
    -------
    scale, min : (n_columns,) float32
        The min is what is subtracted, so mostly positive.
    codes : (n, n_columns) float32
        l.
    """
    lowest, high = first_min(x), np.maximum.reduce(x, axis=0)
    low: Floats = np.where(lowest > 0, ZERO, lowest)
    flat = high == low
    codes, term, product = np.empty_like(x), np.empty_like(x), np.empty_like(x)

    def assign(iscale: Floats, minimum: Floats) -> None:
        np.subtract(x, minimum, out=term)
        _round_into(codes, term, iscale, 0, nmax)
        wild = np.flatnonzero(~(np.abs(iscale * (lowest - minimum)) < _SAFE))
        if wild.size:
            exact = nearest_int(term[:, wild] * iscale[wild])
            codes[:, wild] = np.clip(exact, 0, nmax)

    def error(scale: Floats, minimum: Floats) -> Floats:
        np.multiply(codes, scale, out=term)
        np.add(term, minimum, out=term)
        np.subtract(term, x, out=term)
        if use_mad:
            np.abs(term, out=term)
        else:
            np.multiply(term, term, out=term)
        np.multiply(term, weights, out=term)
        return sum_in_order(term)

    sum_w = sum_in_order(weights, -0.0)
    sum_x = sum_in_order(np.multiply(weights, x, out=term), -0.0)
    minimum = origin = low
    best_iscale: Floats = np.divide(np.float32(nmax), high - low)
    scale: Floats = np.divide(np.float32(1), best_iscale)
    assign(best_iscale, minimum)
    best = error(scale, low)
    best[flat] = -1
    for step in range(nstep + 1):
        levels = np.float32(rmin) + np.float32(rdelta) * np.float32(step) + np.float32(nmax)
        # The range to divide starts at the best min so far, not at the smallest weight.
        iscale = levels / (high - minimum)
        assign(iscale, minimum)
        sum_l = sum_in_order(np.multiply(weights, codes, out=term))
        sum_l2 = sum_in_order(np.multiply(term, codes, out=product))
        sum_xl = sum_in_order(np.multiply(term, x, out=product))
        det = sum_w * sum_l2 - sum_l * sum_l
        this_min = np.divide(sum_l2 * sum_x - sum_l * sum_xl, det)
        fitted = (sum_w * sum_xl - sum_x * sum_l) / det
        above_zero = this_min > 0
        this_scale: Floats = np.where(above_zero, sum_xl / sum_l2, fitted)
        this_min[above_zero] = 0
        current = error(this_scale, this_min)
        better = (det > 0) & (current < best)
        best = np.where(better, current, best)
        best_iscale = np.where(better, iscale, best_iscale)
        origin = np.where(better, minimum, origin)
        scale = np.where(better, this_scale, scale)
        minimum = np.where(better, this_min, minimum)
    assign(best_iscale, origin)
    scale[flat] = 0
    codes[:, flat] = 0
    return scale, -minimum, codes


def make_q3_quants(x: Floats, nmax: int) -> tuple[Floats, Floats]:
    """Search the scale of ``x = scale * l`` by moving one code at a time (``make_q3_quants``).

    Parameters
    ----------
    x : (n, n_columns) float32
        Sub-blocks; an error counts x * x.
    nmax : int
        Half the number of levels.

    Returns
    -------
    scale : (n_columns,) float32
        0 for a column of zeros.
    codes : (n, n_columns) float32
        l + nmax; 0 for a column of zeros.
    """
    peak = signed_peak(x)
    dead = np.abs(peak) < GROUP_MAX_EPS
    peak[dead] = np.inf
    weights = x * x
    codes = np.empty_like(x)
    _round_into(codes, x, np.float32(-nmax) / peak, -nmax, nmax - 1)
    sumlx = sum_in_order(weights * x * codes)
    suml2 = sum_in_order(weights * codes * codes)
    sumlx, suml2 = _refine(x, weights, codes, sumlx, suml2, lowest=-nmax, highest=nmax - 1)
    codes += np.float32(nmax)
    codes[:, dead] = 0
    return np.where(suml2 > 0, sumlx / suml2, ZERO), codes


def make_qp_quants(x: Floats, weights: Floats, nmax: int) -> tuple[Floats, Floats]:
    """Search the scale of ``x = scale * l``, l in [0, nmax] (``make_qp_quants``).

    Quantizes the scales and mins of a super-block. A code of a negative x wraps around as ggml's
    uint8 does.

    Parameters
    ----------
    x, weights : (n, n_columns) float32
        Values and what an error counts.
    nmax : int
        Largest code.

    Returns
    -------
    scale : (n_columns,) float32
        0 for a column of zeros.
    codes : (n, n_columns) float32
        l.
    """
    peak = np.maximum.reduce(x, axis=0)
    dead = ~(peak >= GROUP_MAX_EPS)
    peak[dead] = np.inf

    def error(iscale: Floats, codes: Floats) -> Floats:
        diff = x - (np.float32(1) / iscale) * codes
        return sum_in_order(weights * diff * diff)

    def rounded(iscale: Floats) -> Floats:
        return np.minimum(nearest_int(iscale * x), nmax).astype(np.float32)

    best_iscale = np.float32(nmax) / peak
    first = nearest_int(best_iscale * x).astype(np.uint8).astype(np.float32)
    best = error(best_iscale, first)
    for step in (*range(-4, 0), *range(1, 5)):
        iscale = (np.float32(0.1) * np.float32(step) + np.float32(nmax)) / peak
        current = error(iscale, rounded(iscale))
        better = current < best
        best = np.where(better, current, best)
        best_iscale = np.where(better, iscale, best_iscale)
    codes = rounded(best_iscale)
    sumlx = sum_in_order(weights * x * codes)
    suml2 = sum_in_order(weights * codes * codes)
    codes = codes.astype(np.int32).astype(np.uint8).astype(np.float32)
    sumlx, suml2 = _refine(x, weights, codes, sumlx, suml2, lowest=None, highest=nmax)
    codes[:, dead] = 0
    scale = np.where(suml2 > 0, sumlx / suml2, ZERO)
    scale[dead] = 0
    return scale, codes


def _round_into(codes: Floats, x: Floats, iscale: Floats, lowest: int, highest: int) -> None:
    """Set codes to ``x * iscale``, rounded and kept within [lowest, highest]."""
    np.multiply(x, iscale, out=codes)
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(lowest), np.float32(highest), out=codes)


def _refine(
    x: Floats,
    weights: Floats,
    codes: Floats,
    sumlx: Floats,
    suml2: Floats,
    *,
    lowest: int | None,
    highest: int,
) -> tuple[Floats, Floats]:
    """Move single codes while that improves the fit, five rounds at most; changes `codes`.

    `lowest` None is the unsigned variant: codes wrap as uint8, and a sum of squares must stay
    positive before, not after, the move. Columns that did not change in a round are done.
    """
    active = np.arange(x.shape[1])
    sumlx, suml2 = sumlx.copy(), suml2.copy()
    for _ in range(5):
        if active.size == 0:
            break
        part = codes[:, active]
        sumlx[active], suml2[active], changed = _refine_round(
            x[:, active],
            weights[:, active],
            part,
            sumlx[active],
            suml2[active],
            lowest=lowest,
            highest=highest,
        )
        codes[:, active] = part
        active = active[changed]
    return sumlx, suml2


def _refine_round(
    x: Floats,
    weights: Floats,
    codes: Floats,
    sumlx: Floats,
    suml2: Floats,
    *,
    lowest: int | None,
    highest: int,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Try one move per position, in order; return the new sums and which columns changed."""
    changed = np.zeros(x.shape[1], np.bool_)
    for position in range(x.shape[0]):
        xi, wi, old = x[position], weights[position], codes[position]
        wxi = wi * xi
        slx = sumlx - wxi * old
        sl2 = suml2 - wi * old * old
        moved = np.minimum(nearest_int(xi * sl2 / slx), highest)
        if lowest is not None:
            moved = np.maximum(moved, lowest)
        new = moved.astype(np.float32)
        allowed = (slx > 0) & (new != old)
        if lowest is None:
            allowed &= sl2 > 0
        slx += wxi * new
        sl2 += wi * new * new
        if lowest is not None:
            allowed &= sl2 > 0
        allowed &= slx * slx * suml2 > sumlx * sumlx * sl2
        if lowest is None:
            new = moved.astype(np.uint8).astype(np.float32)
        codes[position] = np.where(allowed, new, old)
        sumlx = np.where(allowed, slx, sumlx)
        suml2 = np.where(allowed, sl2, suml2)
        changed |= allowed
    return sumlx, suml2, changed
