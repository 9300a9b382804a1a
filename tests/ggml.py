"""The real ggml, from the prebuilt package libggml-python, through ctypes."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufkit.types import TensorType


class Ggml:
    """``ggml_quantize_chunk`` and ``to_float`` of a shared library."""

    def __init__(self, path: Path) -> None:
        self.lib = ctypes.CDLL(str(path))
        self.lib.ggml_quantize_chunk.restype = ctypes.c_size_t
        self.lib.ggml_quantize_chunk.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]

    def quantize(
        self,
        values: NDArray[np.float32],
        type: TensorType,  # noqa: A002 - the field's name
        importance: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint8]:
        """Encode rows (n_rows, n_cols) of float32 to (n_rows, row_size) bytes."""
        values = np.ascontiguousarray(values, np.float32)
        n_rows, n_cols = values.shape
        out = np.zeros((n_rows, type.row_size(n_cols)), np.uint8)
        weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
        written = self.lib.ggml_quantize_chunk(
            int(type),
            values.ctypes.data,
            out.ctypes.data,
            0,
            n_rows,
            n_cols,
            None if weights is None else weights.ctypes.data,
        )
        assert written == out.nbytes
        return out

    def dequantize(
        self,
        data: NDArray[np.uint8],
        type: TensorType,  # noqa: A002 - the field's name
    ) -> NDArray[np.float32]:
        """Decode (n_rows, row_size) bytes to (n_rows, n_cols) float32, by the type's to_float."""
        name = type.name.lower()
        name = name[:-1] + "K" if name.endswith("_k") else name
        function = getattr(self.lib, f"dequantize_row_{name}")
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        data = np.ascontiguousarray(data)
        n_cols = data.shape[1] // type.type_size * type.block_size
        out = np.empty((len(data), n_cols), np.float32)
        function(data.ctypes.data, out.ctypes.data, out.size)
        return out


def load_ggml() -> Ggml:
    """Load the library that libggml-python ships."""
    spec = find_spec("libggml")
    assert spec is not None
    assert spec.submodule_search_locations
    lib = Path(spec.submodule_search_locations[0]) / "lib64"
    ctypes.CDLL(str(next(lib.glob("libggml-base.so*"))), mode=ctypes.RTLD_GLOBAL)
    return Ggml(next(lib.glob("libggml-base.so*")))
