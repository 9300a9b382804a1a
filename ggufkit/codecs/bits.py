"""Packing and unpacking of codes: nibbles, 2-bit planes, bit planes and the 6-bit scales.

Every function takes and returns natural order: (n_blocks, codes of a block), uint8.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs.base import Bytes


def pack_nibbles(codes: Bytes, half: int) -> Bytes:
    """Pack 4-bit codes: a group of ``2 * half`` codes takes `half` bytes.

    ::

        byte j of a group   | code j + half | code j |      (high nibble | low nibble)

    Parameters
    ----------
    codes : (n_blocks, n) uint8
        Values below 16.
    half : int
        Bytes per group.
    """
    groups = codes.reshape(len(codes), -1, 2, half)
    packed = groups[:, :, 1] << 4
    packed |= groups[:, :, 0]
    return packed.reshape(len(codes), -1)


def unpack_nibbles(packed: Bytes, half: int) -> Bytes:
    """Undo `pack_nibbles`: (n_blocks, n) uint8 -> (n_blocks, 2 * n) uint8."""
    groups = packed.reshape(len(packed), -1, half)
    codes = np.empty((len(packed), groups.shape[1], 2, half), np.uint8)
    np.bitwise_and(groups, 15, out=codes[:, :, 0])
    np.right_shift(groups, 4, out=codes[:, :, 1])
    return codes.reshape(len(packed), -1)


def pack_crumbs(codes: Bytes, quarter: int = 32) -> Bytes:
    """Pack 2-bit codes: a group of ``4 * quarter`` codes takes `quarter` bytes.

    ::

        byte j of a group   | j + 3 quarter | j + 2 quarter | j + quarter | j |     2 bits each
    """
    groups = codes.reshape(len(codes), -1, 4, quarter)
    packed: Bytes = groups[:, :, 0] | (groups[:, :, 1] << 2)
    packed |= groups[:, :, 2] << 4
    packed |= groups[:, :, 3] << 6
    return packed.reshape(len(codes), -1)


def unpack_crumbs(packed: Bytes, quarter: int = 32) -> Bytes:
    """Undo `pack_crumbs`: (n_blocks, n) uint8 -> (n_blocks, 4 * n) uint8."""
    groups = packed.reshape(len(packed), -1, 1, quarter)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    codes = groups >> shifts
    codes &= 3
    return codes.reshape(len(packed), -1)


def pack_bit_planes(bits: Bytes, n_bytes: int = 32) -> Bytes:
    """Pack 1-bit codes so that code ``i`` is bit ``i // n_bytes`` of byte ``i % n_bytes``."""
    by_bit = bits.reshape(len(bits), 8, n_bytes)
    packed = by_bit[:, 0].copy()
    for bit in range(1, 8):
        packed |= by_bit[:, bit] << bit
    return packed


def unpack_bit_planes(packed: Bytes) -> Bytes:
    """Undo `pack_bit_planes`: (n_blocks, n_bytes) uint8 -> (n_blocks, 8 * n_bytes) of 0 and 1."""
    bits = packed[:, None, :] >> np.arange(8, dtype=np.uint8)[None, :, None]
    bits &= 1
    return bits.reshape(len(packed), -1)


def pack_bits(bits: Bytes) -> Bytes:
    """Pack 1-bit codes so that code ``i`` is bit ``i % 8`` of byte ``i // 8``."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack_bits(packed: Bytes) -> Bytes:
    """Undo `pack_bits`: (n_blocks, n_bytes) uint8 -> (n_blocks, 8 * n_bytes) of 0 and 1."""
    return np.unpackbits(packed, axis=-1, bitorder="little")


def pack_scales_k4(scales: Bytes, mins: Bytes) -> Bytes:
    """Pack the eight 6-bit scales and mins of Q4_K and Q5_K into 12 bytes.

    ::

        byte      bits 7-6          bits 5-4     bits 3-0
        0-3       scale[j+4] high   scale[j]                    j = 0..3
        4-7       min[j+4] high     min[j]
        8-11      min[j+4] low (7-4)             scale[j+4] low

    Parameters
    ----------
    scales, mins : (n_blocks, 8) uint8
        Values below 64.

    Returns
    -------
    (n_blocks, 12) uint8
        Laid out for ``get_scale_min_k4``.
    """
    packed = np.empty((len(scales), 12), np.uint8)
    packed[:, 0:4] = scales[:, :4] | (scales[:, 4:] >> 4 << 6)
    packed[:, 4:8] = mins[:, :4] | (mins[:, 4:] >> 4 << 6)
    packed[:, 8:12] = (scales[:, 4:] & 15) | (mins[:, 4:] << 4)
    return packed


def unpack_scales_k4(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Undo `pack_scales_k4`: (n_blocks, 12) uint8 -> scales and mins (n_blocks, 8) uint8."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=1)
    mins = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=1)
    return scales, mins


def pack_scales_k3(scales: Bytes) -> Bytes:
    """Pack the sixteen 6-bit scales of Q3_K into 12 bytes.

    ::

        byte      bits 7-4          bits 3-0
        0-7       scale[j+8] low    scale[j] low                            j = 0..7
        8-11      high 2 bits of scale[j], [j+4], [j+8], [j+12] (low to high)   j = 0..3

    Parameters
    ----------
    scales : (n_blocks, 16) uint8
        Values below 64.
    """
    return np.concatenate(
        [pack_nibbles(scales & 15, 8), pack_crumbs(scales >> 4, 4)], axis=1, dtype=np.uint8
    )


def unpack_scales_k3(packed: Bytes) -> Bytes:
    """Undo `pack_scales_k3`: (n_blocks, 12) uint8 -> (n_blocks, 16) uint8."""
    scales = unpack_nibbles(packed[:, :8], 8)
    scales |= unpack_crumbs(packed[:, 8:], 4) << 4
    return scales
