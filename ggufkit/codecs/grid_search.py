"""What the encoders and decoders of the IQ2 and IQ3 types share: signs, levels, the search.

A weight is ``scale * sign * level``; the levels of a group of 4 or 8 weights are a point of a
grid, by its number. ggml: ``quantize_row_iq2_xxs_impl``, ``quantize_row_iq3_s_impl`` and those
between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.arithmetic import ZERO, nearest_int, sum_in_order
from ggufkit.codecs.base import Bytes, Floats, blockwise, natural
from ggufkit.codecs.bits import pack_bits, unpack_bits
from ggufkit.codecs.lattice import Index, lattice

ODD = np.arange(1, 16, 2, dtype=np.float32)
"""Level of each code while searching; decoders use levels close to these."""

# Bit 7 of a sign byte that is stored in 7 bits makes the number of negative weights even.
EVEN_SIGNS = np.array([i | (i.bit_count() & 1) << 7 for i in range(128)], np.uint8)
SIGN_SHIFTS = np.array([0, 7, 14, 21], np.uint32)
"""Where the signs of four groups of eight are in a word."""


@dataclass(frozen=True)
class GridSpec:
    """How a type is encoded; see `grid_encode`.

    Parameters
    ----------
    grid : str
        Name of the grid; see `ggufkit.codecs.lattice.lattice`.
    n_sub : int
        Sub-blocks of a super-block.
    max_code : int
        ggml's ``kMaxQ - 1``.
    steps : int
        Inverse scales tried on either side.
    step : float
        Distance between them, in levels.
    even : bool
        Whether the number of negative weights in a group of eight is even: seven signs are stored.
    dead_below : float
        Sub-blocks whose weights are all smaller, or 0, become 0.
    fudge : float
        What ggml multiplies the final scale by.
    redo_all : bool
        Whether the last projection also moves groups that are on the grid.
    redo_always : bool
        Whether it is done even if all groups are.
    """

    grid: str
    n_sub: int
    max_code: int
    steps: int
    step: float
    even: bool = False
    dead_below: float = 0.0
    fudge: float = 1.0
    redo_all: bool = False
    redo_always: bool = False


@dataclass(frozen=True)
class GridFit:
    """Result of a search: scale (n_columns,), points (n_groups, n_columns), signs like x."""

    scale: Floats
    points: Index
    negative: NDArray[np.bool_]


@dataclass(frozen=True)
class GridCode:
    """Encoded super-blocks, not yet packed.

    Attributes
    ----------
    d : (n_blocks,) float32
        Scale of a super-block.
    scales : (n_blocks, n_sub) uint8
        Scale of each sub-block, as l in ``d * (2 * l + 1)``.
    points : (n_blocks, groups) uint16
        Grid point of each group.
    signs : (n_blocks, 32) uint8
        Bit i for weight i of eight.
    dead : (n_sub, n_blocks) bool
        Sub-blocks that are 0.
    """

    d: Floats
    scales: Bytes
    points: NDArray[np.uint16]
    signs: Bytes
    dead: NDArray[np.bool_]


def grid_encode(x: Floats, weights: Floats, spec: GridSpec) -> GridCode:
    """Encode planes (n_pos, n_columns); `weights` say how much each error counts.

    IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S are encoded so; IQ2_XXS finds its first scales otherwise.
    """
    magnitude, negative = fold_signs(x, weights, even=spec.even)
    largest = np.maximum.reduce(magnitude, axis=0)
    dead = (largest < np.float32(spec.dead_below)) | (largest == 0)
    start = largest / np.float32(2 * spec.max_code + 1)
    found = search(magnitude, weights, negative, spec, dead=dead, limit=largest, scale=start)
    return grid_code(found, dead, spec)


def grid_code(found: GridFit, dead: NDArray[np.bool_], spec: GridSpec) -> GridCode:
    """Quantize the scales that a search found, and order its points and signs by blocks."""
    d, scales = block_scales(found.scale, spec.n_sub, fudge=spec.fudge)
    points = natural_points(found.points, spec.n_sub)
    signs = pack_bits(natural(found.negative, spec.n_sub))
    return GridCode(d, scales, points, signs, dead.reshape(spec.n_sub, -1))


def fold_signs(x: Floats, weights: Floats, *, even: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Split planes into magnitudes and signs.

    With `even`, where a group of eight has an odd number of negative weights, the sign of the one
    that counts least is flipped; its magnitude becomes negative.
    """
    negative = x < 0
    magnitude = np.abs(x)
    if even:
        n_columns = x.shape[1]
        groups = negative.reshape(-1, 8, n_columns)
        odd = np.logical_xor.reduce(groups, axis=1)
        least = np.argmin((weights * x * x).reshape(-1, 8, n_columns), axis=1)
        group, column = np.nonzero(odd)
        at = (group, least[group, column], column)
        groups[at] ^= True
        magnitude.reshape(-1, 8, n_columns)[at] *= -1
    return magnitude, negative


def search(
    x: Floats,
    weights: Floats,
    negative: NDArray[np.bool_],
    spec: GridSpec,
    *,
    dead: NDArray[np.bool_],
    limit: Floats,
    scale: Floats,
) -> GridFit:
    """Search the scale and the grid points of each sub-block.

    Parameters
    ----------
    x, weights, negative : (n_pos, n_columns)
        Magnitudes, what an error counts, signs.
    spec : GridSpec
        The type's parameters.
    dead : (n_columns,) bool
        Sub-blocks of zeros.
    limit : (n_columns,) float32
        Magnitude that the largest level stands for.
    scale : (n_columns,) float32
        Scale if no step improves the fit.
    """
    work = _Projection(x, weights, spec)
    limit = np.where(dead, np.float32(np.inf), limit)
    best = np.zeros_like(scale)
    points = np.zeros(work.shape, np.int32)
    off_grid = np.full(work.shape, spec.redo_all)
    for step in range(-spec.steps, spec.steps + 1):
        levels = np.float32(2 * spec.max_code + 1) + np.float32(step) * np.float32(spec.step)
        inverse = levels / limit
        tried, off = work.project(inverse, np.float32(1) / inverse)
        sumqx, sumq2 = work.fit(tried)
        better = (sumq2 > 0) & (sumqx * sumqx > best * sumq2)
        scale = np.where(better, sumqx / sumq2, scale)
        best = np.where(better, scale * sumqx, best)
        points = np.where(better, tried, points)
        off_grid = np.where(better, off, off_grid)
    redo = (scale > 0) & ~dead & (spec.redo_always | off_grid.any(axis=0))
    columns = np.flatnonzero(redo)
    if columns.size:
        part = _Projection(x[:, columns], weights[:, columns], spec)
        again, _ = part.project(np.float32(1) / scale[columns], scale[columns])
        if not spec.redo_all:
            again = np.where(off_grid[:, columns], again, points[:, columns])
        points[:, columns] = again
        sumqx, sumq2 = part.fit(again)
        scale[columns] = np.where(sumq2 > 0, sumqx / sumq2, scale[columns])
    scale = np.where(dead, ZERO, scale)
    points[:, dead] = 0
    flipped = negative ^ (scale < 0)
    flipped[:, dead] = False
    return GridFit(np.abs(scale), points, flipped)


class _Projection:
    """Sub-blocks being projected onto a grid, group by group."""

    def __init__(self, x: Floats, weights: Floats, spec: GridSpec) -> None:
        self.x, self.weights, self.max_code = x, weights, spec.max_code
        self.lattice = lattice(spec.grid)
        self.weighted = weights * x
        self.shape = (len(x) // self.lattice.dim, x.shape[1])
        self.grouped = self._by_group(x)
        # ggml takes the root here, and only here.
        self.group_weights = self._by_group(np.sqrt(weights))
        self.odd = ODD[self.lattice.codes]

    def _by_group(self, planes: Floats) -> Floats:
        n_groups, n_columns = self.shape
        grouped = planes.reshape(n_groups, -1, n_columns).transpose(1, 0, 2)
        return np.ascontiguousarray(grouped).reshape(-1, n_groups * n_columns)

    def project(self, inverse: Floats, scale: Floats) -> tuple[Index, NDArray[np.bool_]]:
        """Find the point of each group (n_groups, n_columns), and which were off the grid."""
        halves = self.x * inverse
        halves -= np.float32(1)
        halves *= np.float32(0.5)
        codes = np.clip(nearest_int(halves), 0, self.max_code)
        keys = self.lattice.keys(codes.reshape(self.shape[0], self.lattice.dim, -1)).reshape(-1)
        points = self.lattice.point_of[keys]
        off = points < 0
        where = np.flatnonzero(off)
        if where.size:
            points[where] = self.lattice.nearest(
                keys[where],
                self.grouped[:, where],
                self.group_weights[:, where],
                scale[where % self.shape[1]],
                self.odd,
            )
        return points.reshape(self.shape), off.reshape(self.shape)

    def fit(self, points: Index) -> tuple[Floats, Floats]:
        """Sums over a sub-block of w * x * level and w * level * level."""
        levels = self.odd[:, points].transpose(1, 0, 2).reshape(self.x.shape)
        sumqx = sum_in_order(self.weighted * levels)
        return sumqx, sum_in_order(self.weights * levels * levels)


def block_scales(
    scale: Floats, n_sub: int, *, fudge: float = 1.0, largest: int = 15
) -> tuple[Floats, Bytes]:
    """Quantize the scales of a super-block as ``d * (2 * l + 1)``.

    Returns
    -------
    d : (n_blocks,) float32
        Times `fudge`.
    codes : (n_blocks, n_sub) uint8
        l, up to `largest`.
    """
    by_sub = scale.reshape(n_sub, -1)
    d = np.maximum.reduce(by_sub, axis=0) / np.float32(2 * largest + 1)
    halves = np.float32(0.5) * ((np.float32(1) / d) * by_sub - np.float32(1))
    codes = np.clip(nearest_int(halves), 0, largest).astype(np.uint8)
    return d * np.float32(fudge), codes.T


def pack_scales_and_signs(code: GridCode) -> NDArray[np.uint32]:
    """Pack l (4 bits) and the signs of 4 x 8 weights (7 bits each): (n_blocks, 8) uint32."""
    signs = code.signs.reshape(-1, 8, 4).astype(np.uint32) & 127
    words: NDArray[np.uint32] = np.bitwise_or.reduce(signs << SIGN_SHIFTS, axis=2)
    words |= code.scales.astype(np.uint32) << np.uint32(28)
    return words


def natural_points(points: Index, n_sub: int) -> NDArray[np.uint16]:
    """Grid points in the order of their weights: (n_blocks, groups of a block) uint16."""
    ordered: NDArray[np.uint16] = blockwise(points, n_sub).astype(np.uint16)
    return ordered


def decode_signed(levels: Floats, scale: Floats, signs: Bytes) -> Floats:
    """Multiply levels by scales and signs, in this order.

    Parameters
    ----------
    levels : (n_blocks, 256) float32
        Levels of the points; overwritten.
    scale : (n_blocks, n_sub) float32
        Scale of each sub-block.
    signs : (n_blocks, 32) uint8
        Sign bytes.
    """
    by_sub = levels.reshape(*scale.shape, -1)
    by_sub *= scale[:, :, None]
    out: Floats = by_sub.reshape(len(scale), -1)
    out *= np.float32(1) - np.float32(2) * unpack_bits(signs)
    return out
