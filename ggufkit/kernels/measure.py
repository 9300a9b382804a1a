"""Errors of decoded weights, measured in one pass where a kernel library is there."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from ggufkit.kernels import _library_of, active

if TYPE_CHECKING:
    from numpy.typing import NDArray


def error_sums(
    source: NDArray[np.float32], decoded: NDArray[np.float32]
) -> tuple[float, float, float, float]:
    """Return the sums of squares of error, source and decoded weights, and the largest error.

    Parameters
    ----------
    source, decoded : float32
        Of the same size.
    """
    source, decoded = np.ascontiguousarray(source), np.ascontiguousarray(decoded)
    library = _library_of(active())
    if library is None:
        return _by_numpy(source, decoded)
    out = (ctypes.c_double * 4)()
    library.measure_error(
        ctypes.c_void_p(source.ctypes.data),
        ctypes.c_void_p(decoded.ctypes.data),
        ctypes.c_int64(source.size),
        out,
    )
    return out[0], out[1], out[2], out[3]


def _by_numpy(
    source: NDArray[np.float32], decoded: NDArray[np.float32]
) -> tuple[float, float, float, float]:
    error = decoded - source
    # numpy adds pairwise: precise, and the same on every machine, unlike BLAS
    error2, source2, decoded2 = (float(np.square(v).sum()) for v in (error, source, decoded))
    return error2, source2, decoded2, float(np.abs(error).max(initial=0))
