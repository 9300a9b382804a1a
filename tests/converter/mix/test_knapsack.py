"""The choice within a limit, against all choices there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ggufkit.converter.mix import knapsack
from ggufkit.converter.mix.knapsack import Option, solve


def random_items(seed: int, n_items: int, n_options: int = 4) -> list[list[Option]]:
    rng = np.random.default_rng(seed)
    return [
        [Option(int(rng.integers(1, 60)) * 7, float(rng.random())) for _ in range(n_options)]
        for _ in range(n_items)
    ]


def least_cost(items: list[list[Option]], limit: int) -> float:
    return min(
        sum(option.cost for option in choice)
        for choice in product(*items)
        if sum(option.n_bytes for option in choice) <= limit
    )


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_best_of_all_choices(seed: int) -> None:
    items = random_items(seed, 5)
    smallest = sum(min(option.n_bytes for option in row) for row in items)
    limit = smallest + 13 * seed
    found = solve(items, limit)
    assert found is not None
    taken = [row[i] for row, i in zip(items, found.taken, strict=True)]
    assert found.n_bytes == sum(option.n_bytes for option in taken) <= limit
    assert found.cost == pytest.approx(sum(option.cost for option in taken))
    assert found.cost == pytest.approx(least_cost(items, limit))
    assert found.bound <= found.cost + 1e-9


def test_coarse_bins_keep_the_limit_and_stay_near_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = random_items(1, 200, 8)
    limit = sum(min(option.n_bytes for option in row) for row in items) + 9_000
    exact = solve(items, limit)
    monkeypatch.setattr(knapsack, "MOST_BINS", 300)
    coarse = solve(items, limit)
    assert exact is not None
    assert coarse is not None
    assert coarse.n_bytes <= limit
    assert exact.bound == coarse.bound <= exact.cost <= coarse.cost
    # rounding every size up to 30 bytes costs something, but what is left over is spent
    assert coarse.cost < exact.cost * 1.1


def test_a_limit_below_the_smallest_has_no_solution() -> None:
    items = random_items(2, 3)
    smallest = sum(min(option.n_bytes for option in row) for row in items)
    assert solve(items, smallest - 1) is None
    assert solve(items, smallest) is not None


def test_room_for_everything_takes_the_best_of_each() -> None:
    items = random_items(3, 30)
    found = solve(items, 10**12)
    assert found is not None
    assert found.cost == pytest.approx(sum(min(o.cost for o in row) for row in items))
    assert found.bound == pytest.approx(found.cost)
