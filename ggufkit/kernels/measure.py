"""Looking over many weights in one pass, natively where a kernel library is there."""

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


def all_below(values: NDArray[np.float32], limit: float) -> bool:
    """Whether the absolute value of every weight is below `limit`; NaN is not."""
    values = np.ascontiguousarray(values)
    library = _library_of(active())
    if library is None:
        # NaN is neither above nor below anything, and wins both reductions
        return values.size == 0 or bool(-limit < values.min() and values.max() < limit)
    data, n = ctypes.c_void_p(values.ctypes.data), ctypes.c_int64(values.size)
    return bool(library.all_below(data, n, ctypes.c_float(limit)))
