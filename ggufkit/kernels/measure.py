"""Errors of decoded weights, measured in one pass if a kernel library is available."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from ggufkit.kernels import _checked, _library_of, active
from ggufkit.kernels.grids import GRIDS, points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ggufkit.types import TensorType


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


def block_error_sums(
    source: NDArray[np.float32],
    data: NDArray[np.uint8],
    type: TensorType,  # noqa: A002 - the field's name
) -> tuple[float, float, float, float] | None:
    """Return the sums of `error_sums` for weights in blocks, which are decoded in the CPU's cache.

    Parameters
    ----------
    source : (n_rows, n_cols) float32
        The weights.
    data : (n_rows, row_size) uint8
        Their blocks.
    type : TensorType
        The type of the blocks.

    Returns
    -------
    tuple or None
        None without a kernel: `data` must be decoded first.
    """
    library = _library_of(active())
    kernel = getattr(library, f"decode_{type.name}", None)
    if library is None or kernel is None:
        return None
    _checked(source, data, type)
    grid = GRIDS.get(type)
    # held by name while the kernel reads it
    table = None if grid is None else points(grid.name)
    out = (ctypes.c_double * 4)()
    library.measure_blocks(
        ctypes.cast(kernel, ctypes.c_void_p),
        ctypes.c_void_p(data.ctypes.data),
        ctypes.c_void_p(source.ctypes.data),
        ctypes.c_int64(source.size),
        ctypes.c_int64(type.block_size),
        ctypes.c_int64(type.type_size),
        None if table is None else ctypes.c_void_p(table.ctypes.data),
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
