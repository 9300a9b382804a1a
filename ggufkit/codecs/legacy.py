"""What the 32-weight types Q4_0, Q4_1, Q5_0, Q5_1 share: two ways to find codes, one to pack them.

Symmetric: ``w = d * (q - nmax)``, q below 2 * nmax. Affine: ``w = d * q + m``, q up to nmax.
Without importance the extremes of a block set its scale (``quantize_row_q4_0_ref`` and so on);
with importance a search does (``quantize_row_q4_0_impl`` and so on).
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.arithmetic import (
    ZERO,
    first_min,
    inverse,
    row_mean_square,
    sigma_weights,
    signed_peak,
)
from ggufkit.codecs.base import Blocks, Bytes, Floats, importance_planes, natural, planes
from ggufkit.codecs.search import make_qkx2_quants, make_qx_quants

BLOCK = 32


def encode_symmetric(rows: Floats, importance: Floats | None, nmax: int) -> tuple[Floats, Bytes]:
    """Find d (n_blocks,) and codes (n_blocks, 32) of ``w = d * (q - nmax)``."""
    x = planes(rows, BLOCK)
    if importance is not None:
        d, searched = make_qx_quants(x, _row_weights(x, rows, importance), nmax)
        return d, natural(searched)
    d = signed_peak(x) / np.float32(-nmax)
    scale, overflow = inverse(d)
    x *= scale
    x += np.where(overflow, ZERO, np.float32(nmax + 0.5))
    codes = np.minimum(x.astype(np.int8), 2 * nmax - 1)
    return d, natural(codes)


def encode_affine(
    rows: Floats, importance: Floats | None, nmax: int
) -> tuple[Floats, Floats, Bytes]:
    """Find d, m (n_blocks,) and codes (n_blocks, 32) of ``w = d * q + m``."""
    x = planes(rows, BLOCK)
    if importance is not None:
        weights = _row_weights(x, rows, importance)
        d, minimum, searched = make_qkx2_quants(x, weights, nmax, rmin=-0.9, rdelta=0.05, nstep=36)
        return d, -minimum, natural(searched)
    minimum = first_min(x)
    spread = np.maximum.reduce(x, axis=0) - minimum + ZERO  # zeros of two signs: +0
    d = spread / np.float32(nmax)
    x -= minimum
    x *= inverse(d)[0]
    x += np.float32(0.5)
    codes = np.minimum(x.astype(np.int8), nmax)
    return d, minimum, natural(codes)


def decode_symmetric(blocks: Blocks, codes: Bytes, nmax: int) -> Floats:
    """Decode ``d * (q - nmax)``: codes (n_blocks, 32) -> (n_blocks, 32) float32."""
    out = codes.astype(np.float32)
    out -= np.float32(nmax)
    out *= blocks["d"].astype(np.float32)[:, None]
    return out


def decode_affine(blocks: Blocks, codes: Bytes) -> Floats:
    """Decode ``d * q + m``: codes (n_blocks, 32) -> (n_blocks, 32) float32."""
    out = codes.astype(np.float32)
    out *= blocks["d"].astype(np.float32)[:, None]
    out += blocks["m"].astype(np.float32)[:, None]
    return out


def _row_weights(x: Floats, rows: Floats, importance: Floats) -> Floats:
    """Weigh a weight by its importance and its row's mean square."""
    n_rows, n_cols = rows.shape
    sigma2 = np.repeat(row_mean_square(rows), n_cols // BLOCK)
    return sigma_weights(x, importance_planes(importance, n_rows, BLOCK), sigma2)
