"""Float32 to F16 and BF16 where rounding is delicate, and rows of any length."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.types import TensorType
from tests.ggml import Ggml

NARROW = (TensorType.F16, TensorType.BF16)


def delicate_floats() -> np.ndarray:
    """Every float16 and the floats around the midpoint to the next one; random bits; NaN."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = (halves[:-1] + halves[1:]) / 2
    around = [np.nextafter(middle, np.float32(side)) for side in (-1, 1e9)]
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    special = np.array([65504, 65519.996, 65520, 65536, 3e38, np.inf, np.nan, 0], np.float32)
    values = np.concatenate([halves, middle, *around, special])
    return np.concatenate([values, -values, bits.view(np.float32)])


@pytest.mark.parametrize("tensor_type", NARROW, ids=lambda member: member.name)
def test_rounding_equals_ggml(tensor_type: TensorType, level: str, ggml: Ggml) -> None:
    rows = delicate_floats()[None]
    out = np.empty((1, 2 * rows.size), np.uint8)
    kernel = kernels.encoder(tensor_type)
    assert kernel is not None
    kernel(rows, None, out)
    assert np.array_equal(out, ggml.quantize(rows, tensor_type))


@pytest.mark.parametrize("tensor_type", NARROW, ids=lambda member: member.name)
@pytest.mark.parametrize("n_cols", range(1, 40))
def test_any_length(tensor_type: TensorType, n_cols: int, level: str) -> None:
    exact = np.arange(n_cols, dtype=np.float32)[None]
    out = np.empty((1, 2 * n_cols), np.uint8)
    back = np.empty_like(exact)
    encode, decode = kernels.encoder(tensor_type), kernels.decoder(tensor_type)
    assert encode is not None
    assert decode is not None
    encode(exact, None, out)
    decode(out, back)
    assert np.array_equal(back, exact)
