"""What IQ1_S and IQ1_M share: levels of -1, 0 and 1, all moved by an eighth, up or down.

A sub-block's best split into three levels is found among all splits of its sorted weights, then
each group of eight moves to a point of the grid of 2048.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import sum_in_order
from ggufkit.codecs.base import Floats
from ggufkit.codecs.lattice import Index, lattice

DELTA = np.float32(0.125)
LEVELS = np.array([-1, 0, 1], np.float32)
UP, DOWN = LEVELS + DELTA, LEVELS - DELTA


class BestSplit:
    """The best of the splits offered so far, column by column, compared as ggml compares."""

    def __init__(self, largest: Floats) -> None:
        n_columns = largest.size
        self.scale = largest
        self.score = np.full(n_columns, -np.finfo(np.float32).max, np.float32)
        self.first = np.full(n_columns, -1, np.int16)
        self.second = np.full(n_columns, -1, np.int16)
        self.variant = np.zeros(n_columns, np.int16)

    def offer(
        self, sumqx: Floats, squared: Floats, sumq2: Floats, split: tuple[int, int], variant: int
    ) -> None:
        """Take a split in the columns where it is better; `squared` is sumqx * sumqx."""
        better = (sumq2 > 0) & (squared > self.score * sumq2)
        columns = np.flatnonzero(better)
        if columns.size:
            scale = sumqx[columns] / sumq2[columns]
            self.scale[columns] = scale
            self.score[columns] = scale * sumqx[columns]
            self.first[columns], self.second[columns] = split
            self.variant[columns] = variant


def sort_positions(x: Floats) -> NDArray[np.intp]:
    """Order of each column's positions by weight; equal ones keep their order."""
    return np.argsort(x, axis=0, kind="stable")


def prefix_sums(terms: Floats) -> Floats:
    """Sums of the first 0, 1, .. n rows, added in order: (n, n_columns) -> (n + 1, n_columns)."""
    sums = np.zeros((len(terms) + 1, terms.shape[1]), np.float32)
    np.add.accumulate(terms, axis=0, out=sums[1:])
    return sums


def split_codes(order: NDArray[np.intp], best: BestSplit) -> NDArray[np.uint8]:
    """Codes of the best split: 0 below the first boundary, 2 from the second on.

    A negative scale becomes positive by mirroring the codes.
    """
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(order))[:, None], axis=0)
    codes = (rank >= best.first).astype(np.uint8) + (rank >= best.second)
    return np.where(best.scale < 0, 2 - codes, codes).astype(np.uint8)


def to_grid(
    codes: NDArray[np.uint8], x: Floats, weights: Floats, scale: Floats, delta: Floats
) -> tuple[Index, Floats]:
    """Move groups of eight codes to the grid, and fit the scale again where that changed one.

    Parameters
    ----------
    codes, x, weights : (n_pos, n_columns)
        Codes, weights and what an error counts.
    scale : (n_columns,) float32
        Scale of each sub-block.
    delta : (n_groups, n_columns) float32
        What is added to a group's levels.

    Returns
    -------
    points : (n_groups, n_columns) int32
        Grid points.
    scale : (n_columns,) float32
        The new scales.
    """
    grid = lattice("iq1_s")
    n_columns = x.shape[1]
    keys = grid.keys(codes.reshape(-1, 8, n_columns))
    points = grid.point_of[keys]
    group, column = np.nonzero(points < 0)
    if group.size == 0:
        return points, scale
    points[group, column] = grid.nearest(
        keys[group, column],
        x.reshape(-1, 8, n_columns)[group, :, column].T,
        weights.reshape(-1, 8, n_columns)[group, :, column].T,
        scale[column],
        LEVELS[grid.codes],
        delta[group, column],
    )
    moved = np.unique(column)
    fitted = point_levels(points[:, moved], delta[:, moved])
    weighted = weights[:, moved] * fitted
    sumqx = sum_in_order(weighted * x[:, moved])
    sumq2 = sum_in_order(weighted * fitted)
    scale = scale.copy()
    scale[moved] = np.where((sumqx > 0) & (sumq2 > 0), sumqx / sumq2, scale[moved])
    return points, scale


def point_levels(points: Index, delta: Floats) -> Floats:
    """Levels of grid points (n_groups, n_columns) -> (8 * n_groups, n_columns)."""
    levels = LEVELS[lattice("iq1_s").codes[:, points]] + delta
    return levels.transpose(1, 0, 2).reshape(-1, points.shape[1])
