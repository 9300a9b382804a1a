"""The grids of the IQ types, in the form that the kernels need.

The points are data of `ggufkit.codecs` (grids.npz, packed as in ggml's tables). A decoder reads
them directly; an encoder also needs, for every pattern that is not a point, a list of the nearest
points, which the kernels' ``build_grid`` makes once per process (up to half a second).
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from ggufkit.types import TensorType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POINTS = Path(__file__).parents[1] / "codecs" / "grids.npz"


class Grid(NamedTuple):
    """The points of a type, and the neighbours that its encoder considers."""

    name: str  # in grids.npz
    bits: int  # of a level
    n_distances: int  # least distances whose points are listed (ggml's nwant)


GRIDS = {
    TensorType.IQ2_XXS: Grid("iq2_xxs", 2, 2),
    TensorType.IQ2_XS: Grid("iq2_xs", 2, 2),
    TensorType.IQ2_S: Grid("iq2_s", 2, 1),
    TensorType.IQ3_XXS: Grid("iq3_xxs", 3, 2),
    TensorType.IQ3_S: Grid("iq3_s", 3, 3),
    TensorType.IQ1_S: Grid("iq1_s", 2, 3),
    TensorType.IQ1_M: Grid("iq1_s", 2, 3),
}


@cache
def points(name: str) -> NDArray[np.uint16]:
    """Return the patterns of a grid's points (n_points,) uint16, by number."""
    import numpy as np

    with np.load(POINTS) as arrays:
        return np.ascontiguousarray(arrays[name], np.uint16)


def tables(grid: Grid, library: ctypes.CDLL) -> NDArray[np.uint8]:
    """Return the ``grid`` of grid.h: numbers of points, and neighbours of all other patterns."""
    # with `cache` alone, threads that call at the same time would each build a table
    with _building:
        return _tables(grid, library)


_building = Lock()


@cache
def _tables(grid: Grid, library: ctypes.CDLL) -> NDArray[np.uint8]:
    import numpy as np

    build = library.build_grid
    build.restype = ctypes.c_int64
    build.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * 3, ctypes.c_void_p]
    numbers = points(grid.name)
    arguments = (numbers.ctypes.data, numbers.size, grid.bits, grid.n_distances)
    size = build(*arguments, None)
    if not size:
        raise MemoryError(f"no memory for the tables of grid {grid.name}")
    buffer = np.empty(size, np.uint8)
    build(*arguments, buffer.ctypes.data)
    return buffer
