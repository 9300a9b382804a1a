"""Packing against the byte maps of the docstrings, read one code at a time."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit.codecs import bits


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


@pytest.mark.parametrize("half", [1, 8, 16, 32, 64])
def test_nibbles(rng: np.random.Generator, half: int) -> None:
    codes = rng.integers(0, 16, (3, 256), np.uint8)
    packed = bits.pack_nibbles(codes, half)
    for i in range(256):
        group, place = divmod(i, 2 * half)
        byte = packed[:, group * half + place % half]
        assert np.array_equal((byte >> (4 * (place // half))) & 15, codes[:, i])
    assert np.array_equal(bits.unpack_nibbles(packed, half), codes)


@pytest.mark.parametrize("quarter", [1, 4, 32])
def test_crumbs(rng: np.random.Generator, quarter: int) -> None:
    codes = rng.integers(0, 4, (3, 256), np.uint8)
    packed = bits.pack_crumbs(codes, quarter)
    for i in range(256):
        group, place = divmod(i, 4 * quarter)
        byte = packed[:, group * quarter + place % quarter]
        assert np.array_equal((byte >> (2 * (place // quarter))) & 3, codes[:, i])
    assert np.array_equal(bits.unpack_crumbs(packed, quarter), codes)


def test_bit_planes(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 2, (3, 256), np.uint8)
    packed = bits.pack_bit_planes(codes)
    for i in range(256):
        assert np.array_equal((packed[:, i % 32] >> (i // 32)) & 1, codes[:, i])
    assert np.array_equal(bits.unpack_bit_planes(packed), codes)


def test_scales_of_q4_k(rng: np.random.Generator) -> None:
    scales, mins = rng.integers(0, 64, (2, 5, 8), np.uint8)
    packed = bits.pack_scales_k4(scales, mins)
    for j in range(4):
        assert np.array_equal(packed[:, j] & 63, scales[:, j])
        assert np.array_equal(packed[:, j + 4] & 63, mins[:, j])
    for j in range(4, 8):
        low, high = packed[:, j + 4], packed[:, j - 4]
        assert np.array_equal((low & 15) | (high >> 6 << 4), scales[:, j])
        assert np.array_equal((low >> 4) | (packed[:, j] >> 6 << 4), mins[:, j])
    unpacked = bits.unpack_scales_k4(packed)
    assert np.array_equal(unpacked[0], scales)
    assert np.array_equal(unpacked[1], mins)


def test_scales_of_q3_k(rng: np.random.Generator) -> None:
    scales = rng.integers(0, 64, (5, 16), np.uint8)
    packed = bits.pack_scales_k3(scales)
    for j in range(16):
        low = packed[:, j % 8] >> (4 * (j // 8))
        high = packed[:, 8 + j % 4] >> (2 * (j // 4))
        assert np.array_equal((low & 15) | ((high & 3) << 4), scales[:, j])
    assert np.array_equal(bits.unpack_scales_k3(packed), scales)
