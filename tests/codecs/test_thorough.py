"""The thorough search: the same format, never a larger error than ggml's."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit.codecs import CODECS, dequantize, quantize
from ggufkit.codecs.affine_form import FORMS
from ggufkit.errors import CodecError
from ggufkit.types import TensorType

N_COLS = 512


def sample(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((24, N_COLS)).astype(np.float32)
    rows *= np.float32(10.0) ** rng.integers(-6, 4, (24, 1)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.01] *= 9
    rows[0] = 0
    rows[1] = np.abs(rows[1])
    rows[2] = -np.abs(rows[2])
    rows[3] = 0.125
    rows[4, ::3] = 0
    return rows


def block_errors(data: np.ndarray, rows: np.ndarray, type_: TensorType, weights: object):
    error = (dequantize(data, type_).astype(np.float64) - rows) ** 2 * weights
    return error.reshape(-1, type_.block_size).sum(axis=1)


@pytest.mark.parametrize("type_", FORMS, ids=lambda t: t.name)
@pytest.mark.parametrize("with_importance", [False, True])
def test_no_block_is_worse_and_the_total_is_better(
    type_: TensorType, with_importance: bool
) -> None:
    rows = sample(3)
    importance = np.random.default_rng(5).random(N_COLS).astype(np.float32) ** 3
    importance[::17] = 0
    given = importance if with_importance else None
    weights = importance if with_importance else 1.0
    plain = quantize(rows, type_, importance=given)
    wide = quantize(rows, type_, importance=given, search="thorough")
    before = block_errors(plain, rows, type_, weights)
    after = block_errors(wide, rows, type_, weights)
    assert (after <= before).all()
    assert after.sum() < before.sum()


@pytest.mark.parametrize("type_", FORMS, ids=lambda t: t.name)
def test_blocks_come_apart_and_together_again(type_: TensorType) -> None:
    form, codec = FORMS[type_], CODECS[type_]
    blocks = quantize(sample(1), type_).view(codec.layout).reshape(-1)
    parts = form.unpack(blocks)
    lowest = form.codes[0]
    scale = np.repeat((parts.d * parts.scales).T, form.n_pos, axis=1)
    minimum = np.repeat((parts.dmin * parts.mins).T, form.n_pos, axis=1)
    decoded = codec.decode(blocks)
    safe = np.where(scale == 0, 1, scale)
    codes = np.rint((decoded + minimum) / safe).clip(*form.codes) - lowest
    again = codec.decode(form.pack(parts, codes.astype(np.uint8)))
    np.testing.assert_allclose(again, decoded, rtol=1e-5, atol=1e-30)


def test_types_without_a_wider_search_keep_ggmls_bytes() -> None:
    rows = sample(2)
    for type_ in (TensorType.BF16, TensorType.IQ4_XS):
        assert (quantize(rows, type_, search="thorough") == quantize(rows, type_)).all()


def test_an_unknown_search_is_refused() -> None:
    with pytest.raises(CodecError, match="thorough"):
        quantize(sample(0), TensorType.Q4_K, search="best")
