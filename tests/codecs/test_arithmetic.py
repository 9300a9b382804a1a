from __future__ import annotations

import numpy as np
import pytest

from ggufkit.codecs.arithmetic import (
    first_min,
    nearest_int,
    round_half_away,
    signed_peak,
    sum_in_order,
)


@pytest.mark.parametrize("n_columns", [1, 2, 7, 15, 16, 17, 1000])
@pytest.mark.parametrize("n", [16, 32, 256])
def test_sums_run_in_order(n: int, n_columns: int) -> None:
    terms = np.random.default_rng(n).standard_normal((n, n_columns), np.float32)
    total = np.zeros(n_columns, np.float32)
    for row in terms:
        total = total + row
    assert np.array_equal(sum_in_order(terms), total)


@pytest.mark.parametrize("n_columns", [1, 64])
def test_start_of_a_sum_decides_its_zero(n_columns: int) -> None:
    terms = np.full((4, n_columns), -0.0, np.float32)
    assert not np.signbit(sum_in_order(terms)).any()
    assert np.signbit(sum_in_order(terms, -0.0)).all()


def test_nearest_int_rounds_half_to_even() -> None:
    x = np.array([0.5, 1.5, -0.5, -1.5, 2.4999998, 4194303.0], np.float32)
    assert nearest_int(x).tolist() == [0, 2, 0, -2, 2, 4194303]


def test_nearest_int_of_what_is_no_number() -> None:
    x = np.array([np.inf, -np.inf, np.nan], np.float32)
    assert nearest_int(x).tolist() == [-4194304, -4194304, 0]


def test_round_half_away_is_roundf() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    x = np.array([0.5, -0.5, 2.5, -2.5, below, -below, 126.49999, 1.5, 0.0], np.float32)
    assert np.trunc(round_half_away(x)).tolist() == [1, -1, 3, -3, 0, 0, 126, 2, 0]


def test_first_of_equal_extremes_counts() -> None:
    x = np.array([[1, -3, 0.0], [-3, 3, -0.0], [3, 2, 0.0]], np.float32)
    assert signed_peak(x).tolist() == [-3, -3, 0]
    zeros = first_min(np.array([[0.0, -0.0], [-0.0, 0.0]], np.float32))
    assert np.signbit(zeros).tolist() == [False, True]
