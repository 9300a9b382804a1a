"""Blocks as ``w = D * q - M``: taking apart the types that `ggufkit.codecs.thorough` searches.

A super-block has ``D = d * scale[s]`` and ``M = dmin * min[s]`` with whole scales and mins; a
block of 32 has one D and one M of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ggufkit.codecs import bits
from ggufkit.codecs.base import Blocks, Bytes, Floats, half
from ggufkit.codecs.formats import q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0
from ggufkit.types import TensorType


@dataclass(frozen=True)
class AffineParts:
    """Blocks taken apart.

    Attributes
    ----------
    d, dmin : (n_blocks,) float32
        Float16 values; `dmin` is 0 where a type has no mins.
    scales, mins : (n_sub, n_blocks) float32
        Whole numbers; 1 where a block has one scale.
    """

    d: Floats
    dmin: Floats
    scales: Floats
    mins: Floats


@dataclass(frozen=True)
class AffineForm:
    """How a type's blocks are taken apart and put together.

    Attributes
    ----------
    n_sub, n_pos : int
        Sub-blocks per block, weights per sub-block.
    codes : (int, int)
        Least and largest q.
    scales : (int, int)
        Least and largest scale; equal where a block has one scale.
    most_min : int
        Largest min; 0 for types without, 1 where a block has one min, of either sign.
    unpack : callable
        Blocks -> `AffineParts`.
    pack : callable
        `AffineParts` and codes (n_blocks, weights) uint8, counted from the least q -> blocks.
    """

    n_sub: int
    n_pos: int
    codes: tuple[int, int]
    scales: tuple[int, int]
    most_min: int
    unpack: Callable[[Blocks], AffineParts]
    pack: Callable[[AffineParts, Bytes], Blocks]

    @property
    def two_levels(self) -> bool:
        """Whether sub-blocks have their own scales."""
        return self.scales[0] < self.scales[1]


def _wide(values: Any) -> Floats:
    return np.asarray(values).astype(np.float32)


def _unpack_single(blocks: Blocks) -> AffineParts:
    names = blocks.dtype.names or ()
    ones = np.ones((1, len(blocks)), np.float32)
    minimum = -_wide(blocks["m"]) if "m" in names else np.zeros(len(blocks), np.float32)
    return AffineParts(_wide(blocks["d"]), minimum, ones, ones)


def _pack_32(layout: np.dtype[Any], n_bits: int) -> Callable[[AffineParts, Bytes], Blocks]:
    """Return `pack` of Q4_0, Q4_1, Q5_0 and Q5_1."""

    def pack(parts: AffineParts, codes: Bytes) -> Blocks:
        blocks = np.empty(len(codes), layout)
        blocks["d"] = half(parts.d)
        if "m" in (layout.names or ()):
            blocks["m"] = half(-parts.dmin)
        blocks["qs"] = bits.pack_nibbles(codes & 15, 16)
        if n_bits == 5:
            blocks["qh"] = bits.pack_bits(codes >> 4)
        return blocks

    return pack


def _pack_q8_0(parts: AffineParts, codes: Bytes) -> Blocks:
    blocks = np.empty(len(codes), q8_0.LAYOUT)
    blocks["d"] = half(parts.d)
    blocks["qs"] = (codes.astype(np.int16) - 127).astype(np.int8)
    return blocks


def _unpack_k45(blocks: Blocks) -> AffineParts:
    scales, mins = bits.unpack_scales_k4(blocks["scales"])
    return AffineParts(_wide(blocks["d"]), _wide(blocks["dmin"]), _wide(scales.T), _wide(mins.T))


def _pack_k45(layout: np.dtype[Any]) -> Callable[[AffineParts, Bytes], Blocks]:
    """Return `pack` of Q4_K and Q5_K."""

    def pack(parts: AffineParts, codes: Bytes) -> Blocks:
        blocks = np.empty(len(codes), layout)
        blocks["d"], blocks["dmin"] = half(parts.d), half(parts.dmin)
        scales, mins = (
            np.ascontiguousarray(v.T.astype(np.uint8)) for v in (parts.scales, parts.mins)
        )
        blocks["scales"] = bits.pack_scales_k4(scales, mins)
        blocks["qs"] = bits.pack_nibbles(codes & 15, 32)
        if "qh" in (layout.names or ()):
            blocks["qh"] = bits.pack_bit_planes(codes >> 4)
        return blocks

    return pack


def _unpack_q2_k(blocks: Blocks) -> AffineParts:
    scales = blocks["scales"].T
    return AffineParts(
        _wide(blocks["d"]), _wide(blocks["dmin"]), _wide(scales & 15), _wide(scales >> 4)
    )


def _pack_q2_k(parts: AffineParts, codes: Bytes) -> Blocks:
    blocks = np.empty(len(codes), q2_k.LAYOUT)
    blocks["d"], blocks["dmin"] = half(parts.d), half(parts.dmin)
    blocks["scales"] = (parts.scales.astype(np.uint8) | parts.mins.astype(np.uint8) << 4).T
    blocks["qs"] = bits.pack_crumbs(codes)
    return blocks


def _signed(d: Any, scales: Floats) -> AffineParts:
    return AffineParts(_wide(d), np.zeros(len(d), np.float32), scales, np.zeros_like(scales))


def _unpack_q3_k(blocks: Blocks) -> AffineParts:
    scales = _wide(bits.unpack_scales_k3(blocks["scales"])) - np.float32(32)
    return _signed(blocks["d"], np.ascontiguousarray(scales.T))


def _pack_q3_k(parts: AffineParts, codes: Bytes) -> Blocks:
    blocks = np.empty(len(codes), q3_k.LAYOUT)
    blocks["d"] = half(parts.d)
    scales = np.ascontiguousarray((parts.scales + np.float32(32)).T.astype(np.uint8))
    blocks["scales"] = bits.pack_scales_k3(scales)
    blocks["hmask"] = bits.pack_bit_planes(codes >> 2)
    blocks["qs"] = bits.pack_crumbs(codes & 3)
    return blocks


def _unpack_q6_k(blocks: Blocks) -> AffineParts:
    return _signed(blocks["d"], np.ascontiguousarray(_wide(blocks["scales"]).T))


def _pack_q6_k(parts: AffineParts, codes: Bytes) -> Blocks:
    blocks = np.empty(len(codes), q6_k.LAYOUT)
    blocks["d"], blocks["scales"] = half(parts.d), parts.scales.T.astype(np.int8)
    blocks["ql"] = bits.pack_nibbles(codes & 15, 64)
    blocks["qh"] = bits.pack_crumbs(codes >> 4)
    return blocks


_ONE = (1, 1)

FORMS: Mapping[TensorType, AffineForm] = MappingProxyType(
    {
        TensorType.Q4_0: AffineForm(
            1, 32, (-8, 7), _ONE, 0, _unpack_single, _pack_32(q4_0.LAYOUT, 4)
        ),
        TensorType.Q4_1: AffineForm(
            1, 32, (0, 15), _ONE, 1, _unpack_single, _pack_32(q4_1.LAYOUT, 4)
        ),
        TensorType.Q5_0: AffineForm(
            1, 32, (-16, 15), _ONE, 0, _unpack_single, _pack_32(q5_0.LAYOUT, 5)
        ),
        TensorType.Q5_1: AffineForm(
            1, 32, (0, 31), _ONE, 1, _unpack_single, _pack_32(q5_1.LAYOUT, 5)
        ),
        TensorType.Q8_0: AffineForm(1, 32, (-127, 127), _ONE, 0, _unpack_single, _pack_q8_0),
        TensorType.Q2_K: AffineForm(16, 16, (0, 3), (0, 15), 15, _unpack_q2_k, _pack_q2_k),
        TensorType.Q3_K: AffineForm(16, 16, (-4, 3), (-32, 31), 0, _unpack_q3_k, _pack_q3_k),
        TensorType.Q4_K: AffineForm(
            8, 32, (0, 15), (0, 63), 63, _unpack_k45, _pack_k45(q4_k.LAYOUT)
        ),
        TensorType.Q5_K: AffineForm(
            8, 32, (0, 31), (0, 63), 63, _unpack_k45, _pack_k45(q5_k.LAYOUT)
        ),
        TensorType.Q6_K: AffineForm(16, 16, (-32, 31), (-128, 127), 0, _unpack_q6_k, _pack_q6_k),
    }
)
