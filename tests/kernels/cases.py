"""Rows that are hard to encode exactly: every branch of ggml's searches, at several scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit.kernels.grids import GRIDS
from ggufkit.types import TensorType

ENCODED = (
    TensorType.F16,
    TensorType.BF16,
    TensorType.Q4_0,
    TensorType.Q4_1,
    TensorType.Q5_0,
    TensorType.Q5_1,
    TensorType.Q8_0,
    TensorType.Q2_K,
    TensorType.Q3_K,
    TensorType.Q4_K,
    TensorType.Q5_K,
    TensorType.Q6_K,
    TensorType.IQ4_NL,
    TensorType.IQ4_XS,
    TensorType.TQ1_0,
    TensorType.TQ2_0,
    TensorType.MXFP4,
    TensorType.NVFP4,
    TensorType.Q1_0,
    TensorType.Q2_0,
    TensorType.IQ2_XXS,
    TensorType.IQ2_XS,
    TensorType.IQ2_S,
    TensorType.IQ3_XXS,
    TensorType.IQ3_S,
    TensorType.IQ1_S,
    TensorType.IQ1_M,
)
DECODED = ENCODED
ONE_OUTLIER, TINY, HUGE = 37.0, 1e-39, 1e30


def rows_for(tensor_type: TensorType, n_cols: int, seed: int) -> NDArray[np.float32]:
    """Hard rows that ggml can encode: its grid searches abort on weights like 1e30."""
    rows = hard_rows(n_cols, seed)
    return rows[np.abs(rows).max(axis=1) < 1e20] if tensor_type in GRIDS else rows


def hard_rows(n_cols: int, seed: int) -> NDArray[np.float32]:
    """Rows (n_rows, n_cols), one per kind of weights."""
    rng = np.random.default_rng(seed)

    def normal() -> NDArray[np.float64]:
        return rng.standard_normal(n_cols)

    outlier = normal() * 1e-3
    outlier[rng.integers(n_cols)] = ONE_OUTLIER
    lonely = np.zeros(n_cols)
    lonely[rng.integers(n_cols)] = 1.0
    mixed = normal().reshape(-1, 16) * 10.0 ** rng.integers(-30, 5, (n_cols // 16, 1))
    some_zero = normal().reshape(-1, 16) * (rng.random((n_cols // 16, 1)) < 0.5)
    rows = [
        normal() * 0.02,
        normal() * 0.02,
        normal(),
        normal() * 1e3,
        normal() * 1e-20,  # scales below float16's range
        normal() * 1e-7,
        normal() * 3e-5,
        normal() * TINY,  # denormal float32
        normal() * HUGE,  # scales above float16's range
        rng.standard_t(2, n_cols),  # heavy tails
        rng.standard_t(1, n_cols) * 1e-3,
        np.zeros(n_cols),
        np.where(normal() > 0, 0.0, -0.0),
        np.full(n_cols, 0.3),
        np.full(n_cols, -0.3),
        outlier,
        lonely,
        -lonely,
        np.abs(normal()),
        -np.abs(normal()),
        1.0 + normal() * 1e-6,  # nearly constant: a range of a few ulps
        -1e4 + normal() * 1e-2,
        np.round(normal() * 4) / 2,  # half integers: ties
        np.round(normal() * 8),
        np.round(normal()),  # ternary and a bit more
        np.sign(normal()),
        np.tile(np.linspace(-1, 1, 32), n_cols // 32),
        np.linspace(-8, 7, n_cols),
        mixed.ravel(),
        some_zero.ravel(),
        np.where(rng.random(n_cols) < 0.9, 0.0, normal()),  # sparse
        np.where(normal() > 0, 1.0, -1.0) * 2.0 ** rng.integers(-3, 3, n_cols),  # powers of two
    ]
    return np.stack(rows).astype(np.float32)


def importances(n_cols: int, seed: int) -> list[NDArray[np.float32] | None]:
    """None, even, steep and sparse importance weights (n_cols,)."""
    rng = np.random.default_rng(seed)
    even = rng.random(n_cols)
    even[rng.integers(n_cols, size=n_cols // 10)] = 0
    sparse = np.where(rng.random(n_cols) < 0.9, 0.0, rng.random(n_cols))
    choices = (even, rng.random(n_cols) ** 4 * 1000, sparse)
    return [None, *(choice.astype(np.float32) for choice in choices)]
