"""The choice itself: one option per item, the least cost within a limit of bytes.

A multiple-choice knapsack. Its table of best costs by bytes is exact while bytes can be counted in
at most `MOST_BINS` units; beyond that sizes are rounded up to a unit, and what rounding left over
is spent on the exchanges that gain most per byte. How far the result can be from the best one is
known either way, from the problem's Lagrangian dual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

# Columns of the table: with a thousand tensors it takes 33 MB and about a second.
MOST_BINS = 1 << 15
# Halvings of the interval in which the dual's price is sought.
_DUAL_STEPS = 60


@dataclass(frozen=True, slots=True)
class Option:
    """What an item can become: bytes, and what it costs in quality."""

    n_bytes: int
    cost: float


@dataclass(frozen=True)
class Solution:
    """The options taken.

    Attributes
    ----------
    taken : tuple of int
        Index of the option of every item.
    n_bytes : int
        Bytes of all.
    cost : float
        Cost of all.
    bound : float
        No choice within the limit costs less than this.
    """

    taken: tuple[int, ...]
    n_bytes: int
    cost: float
    bound: float


def solve(items: Sequence[Sequence[Option]], limit: int) -> Solution | None:
    """Choose one option per item, with the least sum of costs and at most `limit` bytes.

    Returns
    -------
    Solution or None
        None if the smallest options exceed the limit.

    Examples
    --------
    >>> small, large = Option(4, 3.0), Option(8, 1.0)
    >>> solve([[small, large], [Option(4, 9.0), Option(8, 2.0)]], 12).taken
    (0, 1)
    """
    useful = [_undominated(options) for options in items]
    smallest = sum(options[kept[0]].n_bytes for options, kept in zip(items, useful, strict=True))
    if smallest > limit:
        return None
    chains = [[options[i] for i in kept] for options, kept in zip(items, useful, strict=True)]
    places = _by_table(chains, limit - smallest)
    _spend(chains, places, limit)
    return Solution(
        tuple(kept[place] for kept, place in zip(useful, places, strict=True)),
        _bytes(chains, places),
        sum(chain[place].cost for chain, place in zip(chains, places, strict=True)),
        _bound(chains, limit),
    )


def _undominated(options: Sequence[Option]) -> list[int]:
    """Return the options that cost less than all smaller ones, from small to large."""
    order = sorted(range(len(options)), key=lambda i: (options[i].n_bytes, options[i].cost))
    kept: list[int] = []
    for i in order:
        if not kept or options[i].cost < options[kept[-1]].cost:
            kept.append(i)
    return kept


def _bytes(chains: Sequence[Sequence[Option]], places: Sequence[int]) -> int:
    return sum(chain[place].n_bytes for chain, place in zip(chains, places, strict=True))


def _by_table(chains: Sequence[Sequence[Option]], spare: int) -> list[int]:
    """Fill the table item by item: least cost for every number of units above the smallest."""
    most = sum(chain[-1].n_bytes - chain[0].n_bytes for chain in chains)
    spare = min(spare, most)
    unit = gcd(*(option.n_bytes - chain[0].n_bytes for chain in chains for option in chain)) or 1
    unit = max(unit, -(-spare // MOST_BINS))
    n_bins = spare // unit + 1
    best = np.zeros(n_bins)
    taken = np.zeros((len(chains), n_bins), np.uint8)
    for row, chain in zip(taken, chains, strict=True):
        before, best = best, best + chain[0].cost
        for index, option in enumerate(chain[1:], 1):
            step = -(-(option.n_bytes - chain[0].n_bytes) // unit)
            if step >= n_bins:
                continue
            candidate = before[: n_bins - step] + option.cost
            better = candidate < best[step:]
            best[step:][better] = candidate[better]
            row[step:][better] = index
    return _walk_back(chains, taken, unit)


def _walk_back(
    chains: Sequence[Sequence[Option]], taken: NDArray[np.uint8], unit: int
) -> list[int]:
    places = [0] * len(chains)
    left = taken.shape[1] - 1
    for item in reversed(range(len(chains))):
        places[item] = int(taken[item, left])
        chain = chains[item]
        left -= -(-(chain[places[item]].n_bytes - chain[0].n_bytes) // unit)
    return places


def _spend(chains: Sequence[Sequence[Option]], places: list[int], limit: int) -> None:
    """Exchange single options while bytes are left, the largest gain per byte first."""
    spare = limit - _bytes(chains, places)
    while True:
        gains = [
            (
                (chain[place].cost - option.cost) / (option.n_bytes - chain[place].n_bytes),
                item,
                index,
            )
            for item, (chain, place) in enumerate(zip(chains, places, strict=True))
            for index, option in enumerate(chain)
            if index > place and option.n_bytes - chain[place].n_bytes <= spare
        ]
        if not gains:
            return
        _, item, index = max(gains)
        spare -= chains[item][index].n_bytes - chains[item][places[item]].n_bytes
        places[item] = index


def _bound(chains: Sequence[Sequence[Option]], limit: int) -> float:
    """Return the dual's best value: the least cost if bytes had a price instead of a limit."""

    def dual(price: float) -> tuple[float, int]:
        picked = [
            min(chain, key=lambda o: (o.cost + price * o.n_bytes, o.n_bytes)) for chain in chains
        ]
        n_bytes = sum(option.n_bytes for option in picked)
        return sum(o.cost for o in picked) + price * (n_bytes - limit), n_bytes

    value, n_bytes = dual(0.0)
    if n_bytes <= limit:
        return value
    low, high = 0.0, 1e-12
    while dual(high)[1] > limit:
        high *= 2
    for _ in range(_DUAL_STEPS):
        middle = (low + high) / 2
        found, n_bytes = dual(middle)
        value = max(value, found)
        low, high = (middle, high) if n_bytes > limit else (low, middle)
    return max(value, dual(high)[0])
