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

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import bits, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats, importance_planes, natural, planes
from ggufkit.types import TensorType

# Around ggml's scale of a sub-block, and around its d and dmin of a super-block.
SUB_FACTORS = np.linspace(0.7, 1.3, 25, dtype=np.float32)
SUPER_FACTORS = np.float32([1.0, 0.96, 0.98, 1.02, 1.04, 0.92, 1.08])
NEIGHBOURS = (-1, 0, 1)


@dataclass(frozen=True)
class Parts:
    """Blocks taken apart.

    Attributes
    ----------
    d, dmin : (n_blocks,) float32
        Float16 values; `dmin` is 0 where a type has no mins.
    scales, mins : (n_sub, n_blocks) float32
        Whole numbers; 1 where a type has one scale per block.
    """

    d: Floats
    dmin: Floats
    scales: Floats
    mins: Floats


@dataclass(frozen=True)
class Form:
    """How a type's blocks come apart and together.

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
    take, put : callable
        Blocks -> `Parts`, and `Parts` with codes (n_blocks, weights) uint8 from 0 -> blocks.
    """

    n_sub: int
    n_pos: int
    codes: tuple[int, int]
    scales: tuple[int, int]
    most_min: int
    take: Callable[[Blocks], Parts]
    put: Callable[[Parts, Bytes], Blocks]

    @property
    def two_levels(self) -> bool:
        """Whether sub-blocks have scales of their own."""
        return self.scales[0] < self.scales[1]


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
    search = _Search(form, x, w)
    found = search.run(form.take(blocks))
    weights = rows.reshape(len(blocks), -1)
    each = None if importance is None else np.tile(importance, len(rows)).reshape(weights.shape)
    better = _errors(codec, found, weights, each) < _errors(codec, blocks, weights, each)
    return np.where(better, found, blocks)


def _errors(codec: Codec, blocks: Blocks, weights: Floats, each: Floats | None) -> NDArray[np.float64]:
    error = np.square(codec.decode(blocks).astype(np.float64) - weights)
    if each is not None:
        error *= each
    return np.nan_to_num(error.sum(axis=1), nan=np.inf)


class _Search:
    """The search over one tile, in planes: a column is a sub-block."""

    def __init__(self, form: Form, x: Floats, w: Floats) -> None:
        self.form = form
        self.x = x
        self.w = w
        self.wx = w * x
        self.sum_w = np.broadcast_to(w, x.shape).sum(axis=0)
        self.sum_wx = self.wx.sum(axis=0)

    def run(self, start: Parts) -> Blocks:
        """Search from ggml's parts and put the result together."""
        form = self.form
        scale = (start.d * start.scales).reshape(-1)
        minimum = (start.dmin * start.mins).reshape(-1)
        scale, minimum = self._fit(scale, minimum)
        parts = self._levels(start, scale, minimum) if form.two_levels else self._single(scale, minimum)
        q = self._codes((parts.d * parts.scales).reshape(-1), (parts.dmin * parts.mins).reshape(-1))
        codes = natural((q - form.codes[0]).astype(np.uint8), form.n_sub)
        return form.put(parts, codes)

    def _codes(self, scale: Floats, minimum: Floats) -> Floats:
        q = self.x + minimum
        q /= np.where(scale == 0, np.float32(1), scale)
        np.rint(q, out=q)
        return np.clip(q, *self.form.codes, out=q)

    def _error(self, scale: Floats, minimum: Floats, q: Floats) -> Floats:
        error = q * scale
        error -= minimum
        error -= self.x
        np.square(error, out=error)
        error *= self.w
        return np.nan_to_num(error.sum(axis=0), nan=np.inf)

    def _fit(self, scale: Floats, minimum: Floats) -> tuple[Floats, Floats]:
        """Return the best real scale and min of each sub-block."""
        best_scale, best_min = scale.copy(), minimum.copy()
        best = self._error(scale, minimum, self._codes(scale, minimum))
        for factor in SUB_FACTORS:
            trial_scale, trial_min = self._least_squares(self._codes(scale * factor, minimum))
            error = self._error(trial_scale, trial_min, self._codes(trial_scale, trial_min))
            better = error < best
            best = np.where(better, error, best)
            best_scale = np.where(better, trial_scale, best_scale)
            best_min = np.where(better, trial_min, best_min)
        return best_scale, best_min

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

    def _single(self, scale: Floats, minimum: Floats) -> Parts:
        ones = np.ones((1, scale.size), np.float32)
        return Parts(_half(scale), _half(minimum), ones, ones)

    def _levels(self, start: Parts, scale: Floats, minimum: Floats) -> Parts:
        """Choose d and dmin, then whole scales and mins next to what sub-blocks would like."""
        shape = start.scales.shape
        scale, minimum = scale.reshape(shape), minimum.reshape(shape)
        best, best_error = start, self._super_error(start)
        trials = [(d, np.float32(1)) for d in SUPER_FACTORS]
        trials += [(np.float32(1), m) for m in SUPER_FACTORS[1:5]] if self.form.most_min else []
        for factor_d, factor_min in trials:
            d, dmin = _half(best.d * factor_d), _half(best.dmin * factor_min)
            trial = self._nearest(d, dmin, scale, minimum)
            error = self._super_error(trial)
            better = error < best_error
            best_error = np.where(better, error, best_error)
            best = Parts(
                np.where(better, trial.d, best.d),
                np.where(better, trial.dmin, best.dmin),
                np.where(better, trial.scales, best.scales),
                np.where(better, trial.mins, best.mins),
            )
        return best

    def _super_error(self, parts: Parts) -> Floats:
        scale = (parts.d * parts.scales).reshape(-1)
        minimum = (parts.dmin * parts.mins).reshape(-1)
        error = self._error(scale, minimum, self._codes(scale, minimum))
        return error.reshape(parts.scales.shape).sum(axis=0)

    def _nearest(self, d: Floats, dmin: Floats, scale: Floats, minimum: Floats) -> Parts:
        """Return the whole scales and mins around the wished ones that err least."""
        form = self.form
        middle_scale = np.rint(np.nan_to_num(scale / d, posinf=0, neginf=0))
        middle_min = np.rint(np.nan_to_num(minimum / dmin, posinf=0, neginf=0))
        best_scale = best_min = best = None
        for step_min in NEIGHBOURS if form.most_min else (0,):
            mins = np.clip(middle_min + np.float32(step_min), 0, form.most_min)
            for step in NEIGHBOURS:
                scales = np.clip(middle_scale + np.float32(step), *form.scales)
                trial_scale, trial_min = (d * scales).reshape(-1), (dmin * mins).reshape(-1)
                error = self._error(trial_scale, trial_min, self._codes(trial_scale, trial_min))
                error = error.reshape(scales.shape)
                if best is None or best_scale is None or best_min is None:
                    best, best_scale, best_min = error, scales, mins
                    continue
                better = error < best
                best = np.where(better, error, best)
                best_scale = np.where(better, scales, best_scale)
                best_min = np.where(better, mins, best_min)
        assert best_scale is not None and best_min is not None
        return Parts(d, dmin, best_scale, best_min)


def _half(values: Floats) -> Floats:
    return values.astype(np.float16).astype(np.float32)
