"""Every encoder of every instruction level, byte for byte against ggml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.codecs import CODECS
from ggufkit.types import TensorType
from tests.ggml import Ggml, load_ggml
from tests.kernels.cases import ENCODED, hard_rows, importances, rows_for

BLOCK_COUNTS = (1, 3, 17)
# The ggml of libggml-python sums IQ1_M's splits in an older order: the oracle checks that type.
IN_GGML = tuple(member for member in ENCODED if member is not TensorType.IQ1_M)


def encode(
    rows: NDArray[np.float32], tensor_type: TensorType, importance: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    kernel = kernels.encoder(tensor_type)
    assert kernel is not None
    out = np.full((rows.shape[0], tensor_type.row_size(rows.shape[1])), 0xA5, np.uint8)
    kernel(rows, importance, out)
    return out


@cache
def expected(tensor_type: TensorType, n_cols: int, choice: int) -> NDArray[np.uint8]:
    """What ggml writes, computed once for all levels."""
    weights = importances(n_cols, seed=n_cols)[choice]
    return load_ggml().quantize(rows_for(tensor_type, n_cols, seed=n_cols), tensor_type, weights)


@pytest.mark.parametrize("tensor_type", IN_GGML, ids=lambda member: member.name)
@pytest.mark.parametrize("n_blocks", BLOCK_COUNTS)
def test_bytes_equal_ggml(tensor_type: TensorType, n_blocks: int, level: str) -> None:
    n_cols = n_blocks * max(tensor_type.block_size, 32)
    rows = rows_for(tensor_type, n_cols, seed=n_cols)
    for choice, importance in enumerate(importances(n_cols, seed=n_cols)):
        if importance is None and CODECS[tensor_type].needs_importance:
            continue
        got = encode(rows, tensor_type, importance)
        wrong = np.flatnonzero((got != expected(tensor_type, n_cols, choice)).any(axis=1))
        assert not wrong.size, f"{tensor_type.name} {level}: rows {wrong} with importance {choice}"


@pytest.mark.parametrize("tensor_type", ENCODED, ids=lambda member: member.name)
def test_bytes_equal_the_oracle(tensor_type: TensorType, level: str, oracle: Path) -> None:
    data = np.load(oracle / "codecs" / f"{tensor_type.name}.npz")
    rows = np.ascontiguousarray(data["x"])
    for key, importance in (("encoded", None), ("encoded_imatrix", data["imatrix"])):
        if key in data:
            assert np.array_equal(encode(rows, tensor_type, importance), data[key]), key


def test_rows_are_independent(level: str, ggml: Ggml) -> None:
    rows = hard_rows(1280, seed=5)
    importance = importances(1280, seed=5)[1]
    for tensor_type in (TensorType.Q4_K, TensorType.Q5_0):
        alone = [encode(row[None], tensor_type, importance)[0] for row in rows]
        assert np.array_equal(encode(rows, tensor_type, importance), alone)
