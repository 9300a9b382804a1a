"""Errors of weights, by kernel and by numpy."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit import kernels
from ggufkit.kernels.measure import all_below, error_sums


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
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 100.0, -100.0])
def test_one_weight_that_is_not_below_is_found_anywhere(
    level: str, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GGUFKIT_KERNELS", level)
    values = np.linspace(-99, 99, 77, dtype=np.float32)
    assert all_below(values, 100.0)
    assert all_below(values[:0], 100.0)
    for i in range(len(values)):
        spoilt = values.copy()
        spoilt[i] = bad
        assert not all_below(spoilt, 100.0)
