"""A wider search for scales and mins than ggml's: the same format, never a larger error.

Every type here decodes a sub-block as ``w = D * q - M``. ggml tries a few dozen pairs (D, M) with
a measure of its own. This search starts from ggml's block and tries more:

1. for each sub-block, factors around ggml's D, each followed by the least-squares D and M for
   the codes it gives: the best pair is what the sub-block would like;
2. for each super-block, d and dmin around ggml's, and for each of them the whole scales and mins
   next to what the sub-blocks would like.

Both blocks are then decoded, and ggml's stays wherever it has the smaller squared error, weighted
by importance if there is any. So the error is nowhere larger; that of a whole model is not
promised to be better for it.
"""

from __future__ import annotations

from dataclasses import astuple
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.affine_form import FORMS, AffineForm, AffineParts
from ggufkit.codecs.base import Blocks, Codec, Floats, importance_planes, natural, planes

# Around ggml's scale of a sub-block, and around its d and dmin of a super-block.
SUB_FACTORS = np.linspace(0.7, 1.3, 25, dtype=np.float32)
SUPER_FACTORS = np.array([1.0, 0.96, 0.98, 1.02, 1.04, 0.92, 1.08], np.float32)
NEIGHBOURS = (-1, 0, 1)


def refine(codec: Codec, rows: Floats, importance: Floats | None, blocks: Blocks) -> Blocks:
    """Return the better of `blocks` and a wider search's, block by block.

    Parameters
    ----------
    codec : Codec
        Of a type in `FORMS`; blocks of others are returned as they are.
    rows : (n_rows, n_cols) float32
        The weights.
    importance : (n_cols,) float32 or None
        What an error in each column counts.
    blocks : (n_rows * n_cols / block_size,) of ``codec.layout``
        ggml's choice.
    """
    form = FORMS.get(codec.type)
    if form is None or not len(blocks):
        return blocks
    x = planes(rows, form.n_pos, form.n_sub)
    w = (
        np.ones((1, 1), np.float32)
        if importance is None
        else importance_planes(importance, len(rows), form.n_pos, form.n_sub)
    )
    found = _Search(form, x, w).run(form.unpack(blocks))
    weights = rows.reshape(len(blocks), -1)
    each = None if importance is None else np.tile(importance, len(rows)).reshape(weights.shape)
    better = _errors(codec, found, weights, each) < _errors(codec, blocks, weights, each)
    return np.where(better, found, blocks)


def _errors(
    codec: Codec, blocks: Blocks, weights: Floats, each: Floats | None
) -> NDArray[np.float64]:
    error = np.square(codec.decode(blocks).astype(np.float64) - weights)
    if each is not None:
        error *= each
    total: NDArray[np.float64] = np.nan_to_num(error.sum(axis=1), nan=np.inf)
    return total


class _Search:
    """The search over one tile, in planes: a column is a sub-block."""

    def __init__(self, form: AffineForm, x: Floats, w: Floats) -> None:
        self.form = form
        self.x = x
        self.w = w
        self.wx = w * x
        self.sum_w = np.broadcast_to(w, x.shape).sum(axis=0)
        self.sum_wx = self.wx.sum(axis=0)

    def run(self, start: AffineParts) -> Blocks:
        """Search from ggml's parts and put the result together."""
        form = self.form
        scale = (start.d * start.scales).reshape(-1)
        minimum = (start.dmin * start.mins).reshape(-1)
        scale, minimum = self._fit(scale, minimum)
        parts = (
            self._levels(start, scale, minimum) if form.two_levels else self._single(scale, minimum)
        )
        q = self._codes((parts.d * parts.scales).reshape(-1), (parts.dmin * parts.mins).reshape(-1))
        codes = natural((q - form.codes[0]).astype(np.uint8), form.n_sub)
        return form.pack(parts, codes)

    def _codes(self, scale: Floats, minimum: Floats) -> Floats:
        q = self.x + minimum
        q /= np.where(scale == 0, np.float32(1), scale)
        np.rint(q, out=q)
        np.clip(q, *self.form.codes, out=q)
        return q

    def _error(self, scale: Floats, minimum: Floats, q: Floats) -> Floats:
        error = q * scale
        error -= minimum
        error -= self.x
        np.square(error, out=error)
        error *= self.w
        total: Floats = np.nan_to_num(error.sum(axis=0), nan=np.inf)
        return total

    def _fit(self, scale: Floats, minimum: Floats) -> tuple[Floats, Floats]:
        """Return the best real scale and min of each sub-block."""
        best = _Best(self._error(scale, minimum, self._codes(scale, minimum)), (scale, minimum))
        for factor in SUB_FACTORS:
            trial = self._least_squares(self._codes(scale * factor, minimum))
            best.offer(self._error(*trial, self._codes(*trial)), trial)
        return best.values[0], best.values[1]

    def _least_squares(self, q: Floats) -> tuple[Floats, Floats]:
        """Return the scale and min with the least error for given codes."""
        wq = self.w * q
        sum_wqq = (wq * q).sum(axis=0)
        sum_wqx = (self.wx * q).sum(axis=0)
        alone = sum_wqx / sum_wqq
        if not self.form.most_min:
            return alone, np.zeros_like(alone)
        sum_wq = wq.sum(axis=0)
        determinant = self.sum_w * sum_wqq - sum_wq * sum_wq
        scale = (self.sum_w * sum_wqx - sum_wq * self.sum_wx) / determinant
        minimum = (sum_wq * sum_wqx - sum_wqq * self.sum_wx) / determinant
        # K-quants store mins without a sign
        allowed = np.isfinite(scale) & ((minimum >= 0) | (self.form.most_min == 1))
        return np.where(allowed, scale, alone), np.where(allowed, minimum, np.float32(0))

    def _single(self, scale: Floats, minimum: Floats) -> AffineParts:
        ones = np.ones((1, scale.size), np.float32)
        return AffineParts(_half(scale), _half(minimum), ones, ones)

    def _levels(self, start: AffineParts, scale: Floats, minimum: Floats) -> AffineParts:
        """Choose d and dmin, then whole scales and mins next to what sub-blocks would like."""
        form, shape = self.form, start.scales.shape
        scale, minimum = scale.reshape(shape), minimum.reshape(shape)
        best = _Best(self._super_error(start), astuple(start))
        trials = [(factor, np.float32(1)) for factor in SUPER_FACTORS]
        if form.most_min:
            trials += [(np.float32(1), factor) for factor in SUPER_FACTORS[1:5]]
        for factor_d, factor_min in trials:
            d, dmin = _half(best.values[0] * factor_d), _half(best.values[1] * factor_min)
            trial = self._nearest(d, dmin, scale, minimum)
            best.offer(self._super_error(trial), astuple(trial))
        return AffineParts(*best.values)

    def _super_error(self, parts: AffineParts) -> Floats:
        scale = (parts.d * parts.scales).reshape(-1)
        minimum = (parts.dmin * parts.mins).reshape(-1)
        error = self._error(scale, minimum, self._codes(scale, minimum))
        total: Floats = error.reshape(parts.scales.shape).sum(axis=0)
        return total

    def _nearest(self, d: Floats, dmin: Floats, scale: Floats, minimum: Floats) -> AffineParts:
        """Return the whole scales and mins around the wished ones that err least."""
        form = self.form
        middle_scale = np.rint(np.nan_to_num(scale / d, posinf=0, neginf=0))
        middle_min = np.rint(np.nan_to_num(minimum / dmin, posinf=0, neginf=0))
        best = _Best(np.full(scale.shape, np.inf, np.float32), (middle_scale, middle_min))
        for step_min, step in product(NEIGHBOURS if form.most_min else (0,), NEIGHBOURS):
            mins = np.clip(middle_min + np.float32(step_min), 0, form.most_min)
            scales = np.clip(middle_scale + np.float32(step), *form.scales)
            trial_scale, trial_min = (d * scales).reshape(-1), (dmin * mins).reshape(-1)
            error = self._error(trial_scale, trial_min, self._codes(trial_scale, trial_min))
            best.offer(error.reshape(scales.shape), (scales, mins))
        return AffineParts(d, dmin, *best.values)


class _Best:
    """The values with the least error so far, each column on its own."""

    def __init__(self, error: Floats, values: tuple[Floats, ...]) -> None:
        self.error = error
        self.values = values

    def offer(self, error: Floats, values: tuple[Floats, ...]) -> None:
        """Take the columns whose error is less."""
        better = error < self.error
        self.error = np.where(better, error, self.error)
        pairs = zip(values, self.values, strict=True)
        self.values = tuple(np.where(better, new, old) for new, old in pairs)


def _half(values: Floats) -> Floats:
    return values.astype(np.float16).astype(np.float32)
