"""Every decoder of every instruction level, bit for bit against ggml."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.types import TensorType
from tests.ggml import Ggml
from tests.kernels.cases import DECODED

N_BLOCKS = 1001


def decode(data: NDArray[np.uint8], tensor_type: TensorType) -> NDArray[np.float32]:
    kernel = kernels.decoder(tensor_type)
    assert kernel is not None
    n_rows, row_size = data.shape
    n_cols = row_size // tensor_type.type_size * tensor_type.block_size
    out = np.full((n_rows, n_cols), 7.0, np.float32)
    kernel(data, out)
    return out


def ggml_decode(
    ggml: Ggml, data: NDArray[np.uint8], tensor_type: TensorType
) -> NDArray[np.float32]:
    name = tensor_type.name.lower()
    name = name.removesuffix("k") + "K" if name.endswith("_k") else name
    rows = {"f16": "ggml_fp16_to_fp32_row", "bf16": "ggml_bf16_to_fp32_row"}
    function = getattr(ggml.lib, rows.get(name, f"dequantize_row_{name}"))
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    n_weights = data.size // tensor_type.type_size * tensor_type.block_size
    out = np.empty((data.shape[0], n_weights // data.shape[0]), np.float32)
    function(data.ctypes.data, out.ctypes.data, n_weights)
    return out


def assert_same_bits(got: NDArray[np.float32], want: NDArray[np.float32]) -> None:
    # Which NaN comes out of two (d * q + m) is the compiler's choice of operand order.
    same = (got.view(np.uint32) == want.view(np.uint32)) | (np.isnan(got) & np.isnan(want))
    assert same.all(), np.argwhere(~same)[:5]


@pytest.mark.parametrize("tensor_type", DECODED, ids=lambda member: member.name)
def test_random_bytes_decode_as_in_ggml(tensor_type: TensorType, level: str, ggml: Ggml) -> None:
    rng = np.random.default_rng(int(tensor_type))
    shape = (3, N_BLOCKS * tensor_type.type_size)
    data = rng.integers(0, 256, shape, dtype=np.uint8)
    assert_same_bits(decode(data, tensor_type), ggml_decode(ggml, data, tensor_type))


@pytest.mark.parametrize("tensor_type", DECODED, ids=lambda member: member.name)
def test_values_equal_the_oracle(tensor_type: TensorType, level: str, oracle: Path) -> None:
    arrays = np.load(oracle / "codecs" / f"{tensor_type.name}.npz")
    for key in ("", "_imatrix"):
        if f"encoded{key}" in arrays:
            got = decode(np.ascontiguousarray(arrays[f"encoded{key}"]), tensor_type)
            assert np.array_equal(got.view(np.uint32), arrays[f"decoded{key}"].view(np.uint32))


def test_every_float16_decodes_as_in_ieee(level: str) -> None:
    halves = np.arange(65536, dtype=np.uint16)[None]
    got = decode(halves.view(np.uint8), TensorType.F16)
    with np.errstate(invalid="ignore"):
        want = halves.view(np.float16).astype(np.float32)
    assert_same_bits(got, want)
