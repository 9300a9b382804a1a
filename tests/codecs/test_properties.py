"""Any weights, any importance, any block bytes: the results are ggml's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ggufkit import kernels
from ggufkit.codecs import dequantize, quantize
from ggufkit.types import TensorType
from tests.ggml import Ggml

TYPES = [
    *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"),
    *("IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0"),
]
N_COLS = 256

# Few distinct values make ties, runs of zeros and constant sub-blocks likely.
NUMBERS = st.one_of(
    st.floats(-1e4, 1e4, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -0.25, 1e-30, -1e-30, 3.0, 100.0]),
)
ROWS = arrays(np.float32, (1, N_COLS), elements=NUMBERS, fill=NUMBERS)
IMPORTANCE = arrays(
    np.float32, N_COLS, elements=st.floats(0, 1e4, width=32), fill=st.floats(0, 10, width=32)
)
BLOCKS = st.binary(min_size=292, max_size=292)

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=["none", "best"])
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Numpy, and the best kernels there are."""
    if request.param == "none":
        monkeypatch.setenv("GGUFKIT_KERNELS", "none")
    return request.param if request.param == "none" else kernels.active()


@pytest.mark.parametrize("name", TYPES)
@QUICK
@given(rows=ROWS)
def test_any_weights(ggml: Ggml, level: str, name: str, rows: np.ndarray) -> None:
    type_ = TensorType[name]
    assert quantize(rows, type_).tobytes() == ggml.quantize(rows, type_).tobytes()


@pytest.mark.parametrize("name", TYPES)
@QUICK
@given(rows=ROWS, importance=IMPORTANCE)
def test_any_importance(
    ggml: Ggml, level: str, name: str, rows: np.ndarray, importance: np.ndarray
) -> None:
    type_ = TensorType[name]
    got = quantize(rows, type_, importance=importance)
    assert got.tobytes() == ggml.quantize(rows, type_, importance).tobytes()


@pytest.mark.parametrize("name", TYPES)
@QUICK
@given(content=BLOCKS)
def test_any_bytes_decode(ggml: Ggml, level: str, name: str, content: bytes) -> None:
    type_ = TensorType[name]
    data = np.frombuffer(content, np.uint8)[None, : type_.row_size(N_COLS)]
    got, want = dequantize(data, type_), ggml.dequantize(data, type_)
    numbers = ~np.isnan(want)
    assert (np.isnan(got) == ~numbers).all()
    assert (got.view(np.uint32) == want.view(np.uint32))[numbers].all()
