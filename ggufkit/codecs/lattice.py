"""The grids of the IQ1, IQ2 and IQ3 types: the few points that a group of weights may take.

A point is 4 or 8 codes. ``grids.npz`` holds each grid's points in ggml's order, a point packed
into 16 bits, code i at bit ``bits * i`` (the ``kgrid_*`` tables in ``iq2xs_init_impl`` and
``iq3xs_init_impl`` of ggml-quants.c). Which points are near a combination of codes that is not
one is computed on first use, as ggml does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.base import Bytes, Floats

Index = NDArray[np.signedinteger[Any]]

_KEYS_AT_ONCE = 512  # so that all pairs of a key and a neighbour stay in the cache


@dataclass(frozen=True)
class Lattice:
    """A grid and its neighbourhood.

    Parameters
    ----------
    bits : int
        Bits of a code inside a key.
    codes : (dim, n_points) uint8
        Codes of the points.
    point_of : (n_keys,) int32
        Point of a key, -1 where the codes are not on the grid.
    starts, counts : (n_keys,) intp
        Where a key's neighbours are in `neighbours`.
    neighbours : (n,) intp
        Points, by distance, then by number.
    """

    bits: int
    codes: Bytes
    point_of: Index
    starts: Index
    counts: Index
    neighbours: Index

    @property
    def dim(self) -> int:
        """Codes of a point."""
        return len(self.codes)

    def keys(self, codes: NDArray[Any]) -> Index:
        """Pack codes (n_groups, dim, n_columns) -> (n_groups, n_columns)."""
        packed = codes[:, 0].astype(np.int32)
        for i in range(1, self.dim):
            packed |= codes[:, i].astype(np.int32) << (self.bits * i)
        return packed

    def nearest(
        self,
        keys: Index,
        x: Floats,
        weights: Floats,
        scale: Floats,
        levels: Floats,
        shift: Floats | None = None,
    ) -> Index:
        """Choose among the neighbours of each key (``iq2_find_best_neighbour`` and its like).

        Parameters
        ----------
        keys : (n,) int32
            Keys that are not points.
        x, weights : (dim, n) float32
            Weights to approach and what an error counts.
        scale : (n,) float32
            What a level is multiplied by.
        levels : (dim, n_points) float32
            Levels of the points.
        shift : (n,) float32, optional
            What is added to the levels.

        Returns
        -------
        (n,) int32
            The first point of the smallest weighted squared error.
        """
        found = np.empty(keys.size, np.int32)
        for start in range(0, keys.size, _KEYS_AT_ONCE):
            part = slice(start, start + _KEYS_AT_ONCE)
            shifts = None if shift is None else shift[part]
            found[part] = self._nearest(
                keys[part], x[:, part], weights[:, part], scale[part], levels, shifts
            )
        return found

    def _nearest(
        self,
        keys: Index,
        x: Floats,
        weights: Floats,
        scale: Floats,
        levels: Floats,
        shift: Floats | None,
    ) -> Index:
        counts = self.counts[keys]
        firsts = np.cumsum(counts) - counts
        owner = np.repeat(np.arange(keys.size), counts)
        positions = (self.starts[keys] - firsts).take(owner)
        positions += np.arange(owner.size)
        candidates = self.neighbours.take(positions)
        scales = scale.take(owner)
        shifts = None if shift is None else shift.take(owner)
        error = np.zeros(owner.size, np.float32)
        for i in range(self.dim):
            diff = levels[i].take(candidates)
            if shifts is not None:
                diff += shifts
            diff *= scales
            diff -= x[i].take(owner)
            term = weights[i].take(owner)
            term *= diff
            term *= diff
            error += term
        smallest = np.minimum.reduceat(error, firsts)
        hits = np.flatnonzero(error == smallest.take(owner))[::-1]
        found: Index = candidates[firsts]
        found[owner[hits]] = candidates[hits]  # the last assignment stays: the first hit
        return found


@cache
def lattice(name: str) -> Lattice:
    """Build the lattice of a tensor type: iq1_s, iq2_xxs, iq2_xs, iq2_s, iq3_xxs or iq3_s."""
    codes = grid(name)
    dim, _ = codes.shape
    bits, levels = (3, 8) if dim == 4 else (2, 3)
    shifts = bits * np.arange(dim)
    point_of = np.full(1 << (bits * dim), -1, np.int32)
    point_of[(codes.astype(np.int64) << shifts[:, None]).sum(axis=0)] = np.arange(codes.shape[1])
    combinations = np.indices((levels,) * dim, np.uint8).reshape(dim, -1)[::-1]
    keys = (combinations.astype(np.int64) << shifts[:, None]).sum(axis=0)
    missing = point_of[keys] < 0
    counts, neighbours = _neighbours(combinations[:, missing], codes, _DISTANCES[name])
    all_starts, all_counts = np.zeros((2, point_of.size), np.intp)
    all_counts[keys[missing]] = counts
    all_starts[keys[missing]] = np.cumsum(counts) - counts
    return Lattice(bits, codes, point_of, all_starts, all_counts, neighbours)


@cache
def grid(name: str) -> Bytes:
    """Codes of a grid's points: (dim, n_points) uint8."""
    dim, bits = (4, 3) if name.startswith("iq3") else (8, 2)
    with np.load(Path(__file__).with_name("grids.npz")) as stored:
        packed = stored[name].astype(np.uint32)
    codes = (packed >> (bits * np.arange(dim, dtype=np.uint32))[:, None]) & (2**bits - 1)
    narrow: Bytes = codes.astype(np.uint8)
    return narrow


# How many of the smallest different distances count as near (``nwant``).
_DISTANCES = {"iq1_s": 3, "iq2_xxs": 2, "iq2_xs": 2, "iq2_s": 1, "iq3_xxs": 2, "iq3_s": 3}


def _neighbours(combinations: Bytes, codes: Bytes, n_distances: int) -> tuple[Index, Index]:
    """Count and list the points nearest to each combination (dim, n), by distance and number."""
    counts, neighbours = [], []
    points = codes.astype(np.int16)
    for start in range(0, combinations.shape[1], 256):
        some = combinations[:, start : start + 256].astype(np.int16)
        distance = np.zeros((some.shape[1], points.shape[1]), np.int16)
        for mine, theirs in zip(some, points, strict=True):
            distance += (mine[:, None] - theirs) ** 2
        limit = distance.min(axis=1)
        for _ in range(n_distances - 1):
            further = np.where(distance > limit[:, None], distance, np.int16(32767))
            limit = further.min(axis=1)
        rows, points_near = np.nonzero(distance <= limit[:, None])
        order = np.lexsort((points_near, distance[rows, points_near], rows))
        counts.append(np.bincount(rows, minlength=some.shape[1]))
        neighbours.append(points_near[order])
    return np.concatenate(counts), np.concatenate(neighbours)
