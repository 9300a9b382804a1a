"""What K-quants share: the 256-weight super-block, its sigma and its final rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import ZERO, nearest_int, sigma_weights, sum_in_order
from ggufkit.codecs.base import Blocks, Bytes, Floats, half, importance_planes, natural, planes
from ggufkit.codecs.bits import pack_scales_k4, unpack_scales_k4
from ggufkit.codecs.search import make_qkx2_quants, make_qp_quants
from ggufkit.errors import ImportanceRequiredError

QK_K = 256


def block_mean_square(x: Floats, n_sub: int) -> Floats:
    """Mean of the squares of each super-block, summed in the order of its weights.

    Parameters
    ----------
    x : (n_pos, n_sub * n_blocks) float32
        Planes.
    n_sub : int
        Sub-blocks per super-block.

    Returns
    -------
    (n_blocks,) float32
        The mean.
    """
    n_pos = x.shape[0]
    squares = np.square(x).reshape(n_pos, n_sub, -1)
    in_order = np.ascontiguousarray(squares.transpose(1, 0, 2)).reshape(QK_K, -1)
    return sum_in_order(in_order) / np.float32(QK_K)


def block_weights(x: Floats, importance: Floats, n_sub: int, sigma2: Floats) -> Floats:
    """Weigh each weight by its importance and its super-block's `sigma2` (n_blocks,)."""
    n_blocks = sigma2.size
    n_rows = x.size // importance.size
    planes_of_importance = importance_planes(importance, n_rows, x.shape[0], n_sub)
    return sigma_weights(x, planes_of_importance, np.tile(sigma2, n_sub).reshape(n_sub * n_blocks))


def square_weights(x: Floats, importance: Floats | None, n_sub: int) -> Floats:
    """Weigh each weight by its square, or by its importance if that is given (IQ3 types)."""
    if importance is None:
        return x * x
    return block_weights(x, importance, n_sub, np.float32(2) * block_mean_square(x, n_sub))


def require_importance(importance: Floats | None) -> Floats:
    """Return `importance`, or raise `ImportanceRequiredError` if there is none."""
    if importance is None:
        raise ImportanceRequiredError("this type needs importance: give an importance matrix")
    return importance


def requantize(
    x: Floats,
    codes: Floats,
    scale: Floats,
    lowest: int,
    highest: int,
    minimum: Floats | None = None,
) -> Bytes:
    """Round all weights again with the final scales; a scale of 0 keeps the search's codes.

    Parameters
    ----------
    x, codes : (n_pos, n_columns) float32
        Weights, and their codes (from 0) by the search.
    scale, minimum : (n_columns,) float32
        What the decoder will multiply a code by, and subtract.
    lowest, highest : int
        Range of a code before `lowest` is taken off.

    Returns
    -------
    (n_pos, n_columns) uint8
        Codes from 0.
    """
    shifted = x if minimum is None else x + minimum
    rounded = nearest_int(shifted / scale)
    np.clip(rounded, lowest, highest, out=rounded)
    rounded -= lowest
    final = rounded.astype(np.uint8)
    kept = np.flatnonzero(scale == 0)
    if kept.size:
        final[:, kept] = codes[:, kept].astype(np.uint8)
    return final


def decode_scale_min(blocks: Blocks, codes: Bytes) -> Floats:
    """Decode Q4_K and Q5_K: codes (n_blocks, 256) -> (n_blocks, 256) float32."""
    scales, mins = unpack_scales_k4(blocks["scales"])
    scale = blocks["d"].astype(np.float32)[:, None] * scales
    minimum = blocks["dmin"].astype(np.float32)[:, None] * mins
    out = codes.astype(np.float32).reshape(-1, 8, 32)
    out *= scale[:, :, None]
    out -= minimum[:, :, None]
    return out.reshape(-1, QK_K)


def encode_scale_min(
    blocks: Blocks,
    rows: Floats,
    importance: Floats | None,
    *,
    nmax: int,
    rmin: float,
    nstep: int,
) -> Bytes:
    """Encode Q4_K and Q5_K: fill d, dmin and scales of `blocks`, return codes (n_blocks, 256).

    Parameters
    ----------
    blocks : (n_blocks,) of the codec's layout
        To be filled.
    rows, importance : (n_rows, n_cols), (n_cols,) float32
        As for `Codec.encode`.
    nmax : int
        Largest code.
    rmin, nstep : float, int
        The search without importance; with it, ggml uses -0.9 and 36 for both types.
    """
    x = planes(rows, 32, 8)
    if importance is None:
        weights = np.abs(x)
        weights += np.sqrt(sum_in_order(x * x) / np.float32(32))
        scale, minimum, codes = make_qkx2_quants(
            x, weights, nmax, rmin=rmin, rdelta=0.1, nstep=nstep
        )
        d, scales = _scales_by_largest(scale)
        dmin, mins = _scales_by_largest(minimum)
    else:
        sigma2 = np.float32(2) * block_mean_square(x, 8)
        weights = block_weights(x, importance, 8, sigma2)
        scale, minimum, codes = make_qkx2_quants(x, weights, nmax, rmin=-0.9, rdelta=0.05, nstep=36)
        sum_w = sum_in_order(weights).reshape(8, -1)
        d, scale_codes = make_qp_quants(scale.reshape(8, -1), sum_w, 63)
        dmin, min_codes = make_qp_quants(minimum.reshape(8, -1), sum_w, 63)
        # A negative scale wraps around to a code above 63. ggml cuts it for Q5_K, not for Q4_K.
        most = 63 if nmax == 31 else 255
        scales = np.minimum(scale_codes, most).astype(np.uint8)
        mins = np.minimum(min_codes, most).astype(np.uint8)
    blocks["d"], blocks["dmin"] = half(d), half(dmin)
    blocks["scales"] = pack_scales_k4(scales.T, mins.T)
    scales, mins = unpack_scales_k4(blocks["scales"])
    stored_scale = (blocks["d"].astype(np.float32) * scales.T).reshape(-1)
    stored_min = (blocks["dmin"].astype(np.float32) * mins.T).reshape(-1)
    return natural(requantize(x, codes, stored_scale, 0, nmax, stored_min), 8)


def _scales_by_largest(values: Floats) -> tuple[Floats, NDArray[np.uint8]]:
    """Make the largest of eight scales 63: ((n_blocks,), (8, n_blocks)) from (8 * n_blocks,)."""
    by_sub = values.reshape(8, -1)
    largest = np.maximum(np.maximum.reduce(by_sub, axis=0), ZERO)
    inverse = np.where(largest > 0, np.float32(63) / largest, ZERO)
    # ggml rounds into a uint8 first: what wraps around is cut only then.
    scales = np.minimum(nearest_int(by_sub * inverse).astype(np.uint8), 63)
    return largest / np.float32(63), scales
