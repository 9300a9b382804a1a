"""E2M1, the 4-bit float of MXFP4 and NVFP4.

::

    | sign | exponent 2 | mantissa 1 |        doubled, so that all values are integers:
                                              0 1 2 3 4 6 8 12 and their negatives

ggml: ``kvalues_fp4`` (OCP Microscaling Formats 1.0).
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Bytes, Floats

MAGNITUDES = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
VALUES = np.concatenate([MAGNITUDES, -MAGNITUDES])
VALUES[8] = 0  # ggml has no negative zero


def nearest(x: Floats, scale: Floats) -> Bytes:
    """Find the code whose value times `scale` is nearest (``best_index_mxfp4``).

    Parameters
    ----------
    x : (n, block_size) float32
        Weights.
    scale : (n,) float32
        Scale of each row.

    Returns
    -------
    (n, block_size) uint8
        Codes; of two equally near ones, the one with the smaller magnitude.
    """
    magnitude = np.abs(x)
    best = magnitude.copy()
    codes = np.zeros(x.shape, np.uint8)
    error = np.empty_like(x)
    for code in range(1, 8):
        np.subtract((MAGNITUDES[code] * scale)[:, None], magnitude, out=error)
        np.abs(error, out=error)
        np.putmask(codes, error < best, np.uint8(code))
        np.minimum(best, error, out=best)
    codes |= ((x < 0) & (codes > 0)).view(np.uint8) << 3
    return codes
