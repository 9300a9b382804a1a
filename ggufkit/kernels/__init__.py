"""Optional C kernels: the hot encoders and decoders, one block per SIMD lane, bit for bit ggml's.

The same sources are compiled once per instruction level; the best level that this CPU has is
loaded on first use, through ctypes, which releases the GIL while a kernel runs. Where nothing was
compiled, `encoder` and `decoder` return None and numpy does the work. docs/kernels.md explains
the method.

The environment variable GGUFKIT_KERNELS forces a level: ``none``, ``x86-64``, ``x86-64-v3``,
``x86-64-v4`` or ``neon``.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ggufkit.errors import CodecError
from ggufkit.kernels.grids import GRIDS, points, tables
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    class Encoder(Protocol):
        """Encodes rows, if all their weights are below a limit."""

        def __call__(
            self,
            rows: NDArray[np.float32],
            importance: NDArray[np.float32] | None,
            out: NDArray[np.uint8],
            limit: float | None = None,
        ) -> bool:
            """Encode, or return False; see `encoder`."""

    Decoder = Callable[[NDArray[np.uint8], NDArray[np.float32]], None]

__all__ = ["active", "available", "decoder", "encoder"]

VARIABLE = "GGUFKIT_KERNELS"

# Level -> library file, slowest first. `baseline` is what every CPU of the architecture has.
_LIBRARIES = {
    "x86-64": "_baseline.so",
    "neon": "_baseline.so",
    "x86-64-v3": "_x86_64_v3.so",
    "x86-64-v4": "_x86_64_v4.so",
}
# cpu_level() of the baseline library -> levels that the CPU runs.
_X86_LEVELS = {1: ("x86-64",), 3: ("x86-64", "x86-64-v3"), 4: ("x86-64", "x86-64-v3", "x86-64-v4")}

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_int64


def available() -> tuple[str, ...]:
    """Return the levels that were compiled and that this CPU supports, slowest first."""
    return _available()


def active() -> str:
    """Return the level in use: the best available one, or what GGUFKIT_KERNELS says.

    Raises
    ------
    CodecError
        GGUFKIT_KERNELS names a level that is unknown or not available here.
    """
    forced = os.environ.get(VARIABLE, "")
    levels = available()
    if not forced:
        return levels[-1] if levels else "none"
    if forced != "none" and forced not in levels:
        raise CodecError(
            f"{VARIABLE}={forced}: kernels available here are {', '.join(('none', *levels))}; "
            "unset the variable or choose one of these"
        )
    return forced


def encoder(type: TensorType) -> Encoder | None:  # noqa: A002 - the field's name
    """Return the kernel that encodes rows to `type`, or None: then numpy must do it.

    The kernel takes rows ``(n_rows, n_cols)``, importance ``(n_cols,)`` or None, and the output
    ``(n_rows, row_size)``, all C-contiguous. It may run in many threads at once. With a limit, it
    stops and returns False where a weight's absolute value is not below it. A type whose codec
    says `needs_importance` must be given importance: the kernel reads it without asking.
    """
    return _encoder(type, active())


def decoder(type: TensorType) -> Decoder | None:  # noqa: A002 - the field's name
    """Return the kernel that decodes `type`, or None: then numpy must do it.

    The kernel takes data ``(n_rows, row_size)`` and the output ``(n_rows, n_cols)``, both
    C-contiguous. It may run in many threads at once.
    """
    return _decoder(type, active())


@cache
def _available() -> tuple[str, ...]:
    base = "x86-64" if platform.machine().lower() in ("x86_64", "amd64") else "neon"
    library = _library(base)
    if library is None:
        return ()
    levels = _X86_LEVELS[library.cpu_level()] if base == "x86-64" else (base,)
    return tuple(level for level in levels if _library(level) is not None)


@cache
def _library(level: str) -> ctypes.CDLL | None:
    """Load a level's library; a missing or unusable file counts as not compiled."""
    try:
        return ctypes.CDLL(str(Path(__file__).with_name(_LIBRARIES[level])))
    except OSError:
        return None


def _library_of(level: str) -> ctypes.CDLL | None:
    return None if level == "none" else _library(level)


@cache
def _encoder(type: TensorType, level: str) -> Encoder | None:  # noqa: A002 - the field's name
    library = _library_of(level)
    kernel = getattr(library, f"encode_{type.name}", None)
    if library is None or kernel is None:
        return None
    grid = GRIDS.get(type)
    address = ctypes.cast(kernel, ctypes.c_void_p)
    run = library.encode_below
    run.restype = ctypes.c_int
    run.argtypes = [_POINTER] * 4 + [_SIZE] * 3 + [ctypes.c_float, _POINTER]

    def encode(
        rows: NDArray[np.float32],
        importance: NDArray[np.float32] | None,
        out: NDArray[np.uint8],
        limit: float | None = None,
    ) -> bool:
        n_rows, n_cols = _checked(rows, out, type)
        if importance is not None and not (
            importance.shape == (n_cols,) and _plain(importance, "float32")
        ):
            raise CodecError(f"{type.name}: importance must be {n_cols} contiguous float32 values")
        weights = None if importance is None else importance.ctypes.data
        # held by name while the kernel reads it
        table = None if grid is None else tables(grid, library)
        pointers = rows.ctypes.data, weights, out.ctypes.data
        shape = n_rows, n_cols, type.row_size(n_cols)
        more = None if table is None else table.ctypes.data
        below = math.nan if limit is None else limit
        return bool(run(address, *pointers, *shape, below, more))

    return encode


@cache
def _decoder(type: TensorType, level: str) -> Decoder | None:  # noqa: A002 - the field's name
    kernel = getattr(_library_of(level), f"decode_{type.name}", None)
    if kernel is None:
        return None
    grid = GRIDS.get(type)
    kernel.restype = None
    kernel.argtypes = [_POINTER] * 2 + [_SIZE] + [_POINTER] * (grid is not None)

    def decode(data: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        n_rows, n_cols = _checked(out, data, type)
        n_blocks = n_rows * (n_cols // type.block_size)
        numbers = None if grid is None else points(grid.name)
        more = () if numbers is None else (numbers.ctypes.data,)
        kernel(data.ctypes.data, out.ctypes.data, n_blocks, *more)

    return decode


def _checked(
    values: NDArray[np.float32],
    data: NDArray[np.uint8],
    type: TensorType,  # noqa: A002 - the field's name
) -> tuple[int, int]:
    """Check that a kernel will stay within bounds, and return (n_rows, n_cols)."""
    if not (values.ndim == 2 and _plain(values, "float32") and _plain(data, "uint8")):
        raise CodecError(f"{type.name}: kernels need contiguous float32 rows and uint8 data")
    n_rows, n_cols = values.shape
    if n_cols % type.block_size or data.shape != (n_rows, type.row_size(n_cols)):
        raise CodecError(
            f"{type.name}: rows of shape {values.shape} do not fit data of shape {data.shape}"
        )
    return n_rows, n_cols


def _plain(array: NDArray[np.generic], dtype: str) -> bool:
    return array.dtype == dtype and array.flags.c_contiguous
