"""Grids against gguf-py, neighbours against a direct reading of their definition."""

from __future__ import annotations

from itertools import product

import gguf.quants
import numpy as np
import pytest

from ggufkit.codecs import ternary
from ggufkit.codecs.formats import iq2_xxs, iq3_s, iq3_xxs
from ggufkit.codecs.grid_search import EVEN_SIGNS
from ggufkit.codecs.lattice import grid, lattice

LEVELS = {
    "iq1_s": ternary.LEVELS,
    "iq2_xxs": iq2_xxs.LEVELS,
    "iq2_xs": iq2_xxs.LEVELS,
    "iq2_s": iq2_xxs.LEVELS,
    "iq3_xxs": iq3_xxs.LEVELS,
    "iq3_s": iq3_s.LEVELS,
}


@pytest.mark.parametrize("name", LEVELS)
def test_grid_is_that_of_gguf_py(name: str) -> None:
    other = getattr(gguf.quants, name.upper())
    other.init_grid()
    expected = other.grid.reshape(other.grid_shape)
    assert np.array_equal(LEVELS[name][grid(name).T], expected)


def test_signs_are_those_of_gguf_py() -> None:
    assert EVEN_SIGNS.tobytes() == gguf.quants.IQ2_XXS.ksigns


@pytest.mark.parametrize("name", LEVELS)
def test_every_key_is_a_point_or_has_neighbours(name: str) -> None:
    found = lattice(name)
    levels = 8 if found.dim == 4 else 3
    for codes in list(product(range(levels), repeat=found.dim))[::37]:
        key = sum(code << (found.bits * i) for i, code in enumerate(codes))
        point = found.point_of[key]
        if point >= 0:
            assert tuple(found.codes[:, point]) == codes
        else:
            assert found.counts[key] > 0


@pytest.mark.parametrize(("name", "n_distances"), [("iq3_xxs", 2), ("iq2_s", 1), ("iq1_s", 3)])
def test_neighbours_are_the_nearest_by_distance_and_number(name: str, n_distances: int) -> None:
    found = lattice(name)
    points = found.codes.T.astype(int).tolist()
    for key in np.flatnonzero(found.counts)[::997]:
        mask = (1 << found.bits) - 1
        codes = [(int(key) >> (found.bits * i)) & mask for i in range(found.dim)]
        ranked = sorted(
            (sum((a - b) ** 2 for a, b in zip(codes, point, strict=True)), number)
            for number, point in enumerate(points)
        )
        near = sorted({distance for distance, _ in ranked})[:n_distances]
        expected = [number for distance, number in ranked if distance in near]
        start = found.starts[key]
        assert found.neighbours[start : start + found.counts[key]].tolist() == expected
