"""Errors of weights, by kernel and by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.codecs import dequantize, quantize
from ggufkit.errors import CodecError, NotFiniteError
from ggufkit.kernels.measure import block_error_sums, error_sums
from ggufkit.types import TensorType

IMPORTANCE = np.ones(5 * 256, np.float32)


@pytest.mark.parametrize("level", ["none", *kernels.available()])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 2047, 2048, 2049, 100_003])
def test_sums_are_those_of_float64(level: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGUFKIT_KERNELS", level)
    rng = np.random.default_rng(n)
    source = rng.standard_normal(n).astype(np.float32)
    decoded = (source + rng.standard_normal(n) * 0.01).astype(np.float32)
    error = (decoded - source).astype(np.float64)
    wide = [error, source.astype(np.float64), decoded.astype(np.float64)]
    want = [float((values**2).sum()) for values in wide]
    got = error_sums(source, decoded)
    assert got[:3] == pytest.approx(want, rel=1e-5, abs=1e-30)
    assert got[3] == (np.abs(decoded - source).max() if n else 0)


def test_every_level_adds_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    source, decoded = rng.standard_normal((2, 54_321)).astype(np.float32)
    results = set()
    for level in kernels.available():
        monkeypatch.setenv("GGUFKIT_KERNELS", level)
        results.add(error_sums(source, decoded))
    assert len(results) == min(1, len(kernels.available()))


@pytest.mark.parametrize("level", kernels.available())
@pytest.mark.parametrize("type_", [t for t in TensorType if kernels.decoder(t) is not None])
def test_blocks_are_measured_as_if_they_were_decoded_first(
    level: str, type_: TensorType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GGUFKIT_KERNELS", level)
    rng = np.random.default_rng(int(type_))
    n_rows, n_cols = 7, 5 * 256  # the last run of weights is not a full one
    source = rng.standard_normal((n_rows, n_cols), np.float32)
    data = rng.integers(0, 2**8, (n_rows, type_.row_size(n_cols)), np.uint8)
    if type_ in (TensorType.F16, TensorType.BF16):
        data &= 0x3F  # finite
    decoded = dequantize(data, type_)
    finite = np.isfinite(decoded) & (np.abs(decoded) < 1e15)
    if not finite.all():  # some scales are not: take what an encoder makes of the rest
        data = quantize(np.where(finite, decoded, 0).clip(-1e3, 1e3), type_, importance=IMPORTANCE)
        decoded = dequantize(data, type_)
    got = block_error_sums(source, data, type_)
    assert got == error_sums(source, decoded)
    assert got[0] > 0


@pytest.mark.skipif(not kernels.available(), reason="no compiled kernels here")
def test_blocks_of_other_shapes_are_refused() -> None:
    source = np.zeros((2, 64), np.float32)
    with pytest.raises(CodecError, match="do not fit"):
        block_error_sums(source, np.zeros((1, 68), np.uint8), TensorType.Q8_0)


@pytest.mark.parametrize("level", ["none", *kernels.available()])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e11, -2e11])
def test_one_weight_that_no_block_holds_is_found_anywhere(
    level: str, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GGUFKIT_KERNELS", level)
    rows = np.linspace(-9e10, 9e10, 3 * 64, dtype=np.float32).reshape(3, 64)
    quantize(rows / np.float32(1e8), TensorType.Q8_0)
    for row, column in [(0, 0), (0, 31), (1, 32), (2, 63)]:
        spoilt = rows / np.float32(1e8)
        spoilt[row, column] = bad
        with pytest.raises(NotFiniteError) as caught:
            quantize(spoilt, TensorType.Q8_0)
        assert caught.value.index == (row, column)
