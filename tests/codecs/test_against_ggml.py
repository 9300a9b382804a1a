"""Codecs against the prebuilt ggml, over many random weights."""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.codecs import quantize
from ggufkit.types import TensorType
from tests.ggml import Ggml

N_COLS = 2048
MILLION = 512
SLOW = ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ4_NL", "IQ4_XS"]
FAST = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


@pytest.fixture(autouse=True)
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "encoder", lambda _: None)


@pytest.fixture(scope="module")
def newer_ggml() -> Ggml:
    """The ggml inside xllamacpp, which has the types and changes that libggml-python lacks."""
    spec = find_spec("xllamacpp")
    assert spec is not None
    assert spec.submodule_search_locations
    return Ggml(next(Path(spec.submodule_search_locations[0]).glob("xllamacpp*.so")))


def many_weights(seed: int, n_rows: int) -> NDArray[np.float32]:
    """Rows of several kinds and scales from 1e-3 to 1e3."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_rows, N_COLS))
    rows[1::8] = rng.standard_t(2, rows[1::8].shape)
    rows[2::8] = rng.laplace(size=rows[2::8].shape)
    rows[3::8] = rng.uniform(-1, 1, rows[3::8].shape) ** 9
    rows[4::8] += rng.uniform(-3, 3, (len(rows[4::8]), 1))
    rows[5::8] *= rng.random(rows[5::8].shape) < 0.1
    rows[6::8] *= np.repeat(np.exp2(rng.integers(-30, 5, (len(rows[6::8]), N_COLS // 16))), 16, 1)
    rows[7::8] = np.round(rows[7::8] * 4) / 4
    rows *= 10.0 ** rng.integers(-3, 4, (n_rows, 1))
    return rows.clip(-60000, 60000).astype(np.float32)  # the largest float16 is 65504


def some_importance(seed: int) -> NDArray[np.float32]:
    """Positive values, heavy-tailed, with a few zeros and one sub-block of a single non-zero."""
    rng = np.random.default_rng(seed)
    importance = rng.standard_normal(N_COLS) ** 2 * np.exp2(rng.integers(-6, 7, N_COLS))
    importance[rng.random(N_COLS) < 0.02] = 0
    importance[:31] = 0
    return importance.astype(np.float32)


@pytest.mark.parametrize("with_importance", [False, True], ids=["plain", "importance"])
@pytest.mark.parametrize("name", FAST)
def test_a_million_weights(name: str, with_importance: bool, ggml: Ggml) -> None:
    tensor_type = TensorType[name]
    seed = zlib.crc32(name.encode())
    values = many_weights(seed, MILLION)
    importance = some_importance(seed) if with_importance else None
    got = quantize(values, tensor_type, importance=importance)
    want = ggml.quantize(values, tensor_type, importance)
    assert np.flatnonzero((got != want).any(axis=1)).tolist() == []


@pytest.mark.parametrize("name", [*SLOW, "TQ1_0", "TQ2_0", "MXFP4", "BF16", "F16"])
def test_the_other_types(name: str, ggml: Ggml) -> None:
    tensor_type = TensorType[name]
    seed = zlib.crc32(name.encode())
    values = many_weights(seed, 32)
    importance = some_importance(seed)
    got = quantize(values, tensor_type, importance=importance)
    want = ggml.quantize(values, tensor_type, importance)
    assert np.flatnonzero((got != want).any(axis=1)).tolist() == []


@pytest.mark.parametrize("name", ["Q1_0", "Q2_0", "NVFP4", "MXFP4"])
def test_types_of_a_newer_ggml(name: str, newer_ggml: Ggml) -> None:
    tensor_type = TensorType[name]
    values = many_weights(zlib.crc32(name.encode()), 32)
    importance = some_importance(zlib.crc32(name.encode()))
    got = quantize(values, tensor_type, importance=importance)
    want = newer_ggml.quantize(values, tensor_type, importance)
    assert np.flatnonzero((got != want).any(axis=1)).tolist() == []


@pytest.mark.parametrize("name", ["IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"])
def test_the_other_types_without_importance(name: str, ggml: Ggml) -> None:
    tensor_type = TensorType[name]
    values = many_weights(zlib.crc32(name.encode()), 32)
    got = quantize(values, tensor_type)
    want = ggml.quantize(values, tensor_type)
    assert np.flatnonzero((got != want).any(axis=1)).tolist() == []
