from __future__ import annotations

import sys
import warnings
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
from numpy.typing import NDArray

from ggufkit.codecs import CODECS, dequantize, quantize
from ggufkit.errors import (
    CodecError,
    NoEncoderError,
    NotBlockAlignedError,
    NotFiniteError,
    UnknownTensorTypeError,
)
from ggufkit.types import TensorType


@pytest.fixture
def values() -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((2, 3, 256), np.float32)


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.generic]:
    """As ml_dtypes would give it: a 2-byte type of that name (upper half of a float32)."""
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)

    class Named(np.ndarray):
        @property
        def dtype(self) -> object:
            return type("dtype", (), {"name": "bfloat16"})()

    return upper.view(Named)


def test_table_has_every_tensor_type() -> None:
    assert list(CODECS) == list(TensorType)
    assert {CODECS[key].type for key in CODECS} == set(TensorType)


def test_a_number_is_no_tensor_type() -> None:
    with pytest.raises(UnknownTensorTypeError, match="99"):
        quantize(np.zeros(32, np.float32), 99)  # type: ignore[arg-type]


def test_shape_keeps_leading_axes(values: NDArray[np.float32]) -> None:
    data = quantize(values, TensorType.Q4_K)
    assert data.shape == (2, 3, 144)
    assert dequantize(data, TensorType.Q4_K).shape == values.shape
    assert np.array_equal(data[1, 2], quantize(values[1, 2], TensorType.Q4_K))


def test_empty_tensors() -> None:
    assert quantize(np.zeros((0, 64), np.float32), TensorType.Q8_0).shape == (0, 68)
    assert dequantize(np.zeros((2, 0), np.uint8), TensorType.Q8_0).shape == (2, 0)


def test_strides_do_not_matter(values: NDArray[np.float32]) -> None:
    turned = values.transpose(1, 0, 2)
    expected = quantize(np.ascontiguousarray(turned), TensorType.Q6_K)
    assert np.array_equal(quantize(turned, TensorType.Q6_K), expected)
    backwards = np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    assert np.array_equal(quantize(backwards, TensorType.Q6_K), quantize(values, TensorType.Q6_K))


def test_writes_into_out(values: NDArray[np.float32]) -> None:
    wide = np.zeros((2, 3, 600), np.uint8)
    out = wide[..., 10 : 10 + 272]
    assert quantize(values, TensorType.Q8_0, out=out) is out
    assert np.array_equal(out, quantize(values, TensorType.Q8_0))
    assert not wide[..., :10].any()
    floats = np.empty_like(values)
    assert dequantize(out, TensorType.Q8_0, out=floats) is floats


def test_out_must_fit(values: NDArray[np.float32]) -> None:
    with pytest.raises(CodecError, match="out must be"):
        quantize(values, TensorType.Q8_0, out=np.empty((2, 3, 271), np.uint8))
    with pytest.raises(CodecError, match="out must be"):
        dequantize(np.zeros(34, np.uint8), TensorType.Q8_0, out=np.empty(32, np.float64))


@pytest.mark.parametrize("shape", [(31,), (4, 33), ()])
def test_rows_are_whole_blocks(shape: tuple[int, ...]) -> None:
    with pytest.raises(NotBlockAlignedError, match="Q4_0"):
        quantize(np.zeros(shape, np.float32), TensorType.Q4_0)
    with pytest.raises(NotBlockAlignedError, match="18 bytes"):
        dequantize(np.zeros(shape, np.uint8), TensorType.Q4_0)


def test_importance_per_matrix(values: NDArray[np.float32]) -> None:
    importance = np.random.default_rng(2).random((2, 256), np.float32)
    data = quantize(values, TensorType.Q4_K, importance=importance)
    for matrix, own, expected in zip(values, importance, data, strict=True):
        assert np.array_equal(quantize(matrix, TensorType.Q4_K, importance=own), expected)
    assert not np.array_equal(data, quantize(values, TensorType.Q4_K))


@pytest.mark.parametrize("shape", [(255,), (3, 256), (2, 3, 256)])
def test_importance_must_fit(values: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match="importance of shape"):
        quantize(values, TensorType.Q4_K, importance=np.ones(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_importance_is_finite_and_not_negative(values: NDArray[np.float32], bad: float) -> None:
    importance = np.ones(256, np.float32)
    importance[7] = bad
    with pytest.raises(CodecError, match="not negative"):
        quantize(values, TensorType.Q4_K, importance=importance)


def test_float16_and_bfloat16_are_widened(values: NDArray[np.float32]) -> None:
    halves = values.astype(np.float16)
    assert np.array_equal(
        quantize(halves, TensorType.Q5_0), quantize(halves.astype(np.float32), TensorType.Q5_0)
    )
    brains = bfloat16(values)
    widened = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert np.array_equal(quantize(brains, TensorType.Q5_0), quantize(widened, TensorType.Q5_0))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.complex64, ">f4"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(CodecError, match="dtype"):
        quantize(np.zeros(32, dtype), TensorType.Q4_0)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("F64", "<f8"),
        ("F32", "<f4"),
        ("F16", "<f2"),
        ("I8", "i1"),
        ("I16", "<i2"),
        ("I32", "<i4"),
        ("I64", "<i8"),
    ],
)
def test_plain_values_are_copied_bit_by_bit(name: str, dtype: str) -> None:
    raw = np.random.default_rng(3).integers(0, 256, (3, 80), np.uint8)
    values = raw.view(dtype)
    assert np.array_equal(quantize(values, TensorType[name]), raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # signalling NaNs, on numpy's side of the comparison
        expected = values.astype(np.float32)
    assert np.array_equal(dequantize(raw, TensorType[name]), expected, equal_nan=True)


@pytest.mark.parametrize("name", ["I8", "F64", "Q8_1", "Q8_K"])
def test_types_without_encoder(name: str) -> None:
    with pytest.raises(NoEncoderError, match=name):
        quantize(np.zeros(256, np.float32), TensorType[name])


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_types_keep_what_is_not_finite(name: str) -> None:
    values = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    decoded = dequantize(quantize(values, TensorType[name]), TensorType[name])
    assert np.array_equal(decoded, values, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "value"), [("F16", 65520.0), ("BF16", 3.4e38), ("Q8_0", 1e10), ("IQ1_M", 1e10)]
)
def test_numbers_too_large_are_refused(name: str, value: float) -> None:
    values = np.ones((2, 512), np.float32)
    values[1, 256] = value
    with pytest.raises(NotFiniteError, match="too large") as caught:
        quantize(values, TensorType[name], importance=np.ones(512, np.float32))
    assert caught.value.index == (1, 256)


def test_largest_numbers_that_fit() -> None:
    values = np.array([65519.0, -65519.0], np.float32)
    decoded = dequantize(quantize(values, TensorType.F16), TensorType.F16)
    assert decoded.tolist() == [65504.0, -65504.0]


def test_bfloat16_rounds_to_even() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F800001], np.uint32)
    stored = quantize(bits.view(np.float32), TensorType.BF16).view("<u2")
    assert [hex(value) for value in stored] == ["0x3f80", "0x3f82", "0x3f81", "0x7fc0"]


def test_memmap_is_read_in_place(tmp_path: Path, values: NDArray[np.float32]) -> None:
    path = tmp_path / "weights"
    values.tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=values.shape)
    assert np.array_equal(
        quantize(mapped, TensorType.Q3_K, jobs=2), quantize(values, TensorType.Q3_K)
    )
    del mapped


def test_importing_the_table_loads_no_codec() -> None:
    code = "import sys, ggufkit.codecs; print([m for m in sys.modules if '.codecs.q' in m])"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
