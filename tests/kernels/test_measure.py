"""Errors of weights, by kernel and by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.codecs import quantize
from ggufkit.errors import NotFiniteError
from ggufkit.kernels.measure import error_sums
from ggufkit.types import TensorType


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
