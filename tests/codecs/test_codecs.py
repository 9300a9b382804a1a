"""Every codec against what llama.cpp wrote: see fixtures/codecs and the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.codecs import CODECS, Codec, dequantize, quantize, tensors
from ggufkit.errors import ImportanceRequiredError, NotFiniteError
from ggufkit.types import TensorType

FIXTURES = Path(__file__).parents[2] / "fixtures" / "codecs"
GOLDEN = sorted(path.stem for path in FIXTURES.glob("*.npz") if path.stem != "input")
ALL = [codec for codec in CODECS.values() if codec.type.is_quantized]
ENCODERS = [codec for codec in ALL if codec.encode is not None]


def name_of(codec: Codec) -> str:
    return codec.type.name


every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=name_of)
every_encoder = pytest.mark.parametrize("codec", ENCODERS, ids=name_of)
every_golden = pytest.mark.parametrize("name", GOLDEN)


@pytest.fixture(autouse=True)
def numpy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codecs are tested here, not the kernels that may replace them."""
    monkeypatch.setattr(kernels, "encoder", lambda _: None)
    monkeypatch.setattr(kernels, "decoder", lambda _: None)


@pytest.fixture(scope="module")
def golden_input() -> Any:
    return load(FIXTURES / "input.npz")


@pytest.fixture(scope="module")
def weights() -> NDArray[np.float32]:
    """Rows whose blocks differ in scale."""
    rng = np.random.default_rng(7)
    scale = np.exp2(rng.integers(-8, 3, (6, 512)))
    return (rng.standard_normal((6, 512)) * scale).astype(np.float32)


@pytest.fixture(scope="module")
def importance() -> NDArray[np.float32]:
    return np.random.default_rng(8).random(512, np.float32)


def load(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as arrays:
        return dict(arrays)


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values).view(np.uint32)


@every_codec
def test_layout_is_one_block(codec: Codec) -> None:
    assert codec.layout.itemsize == codec.type.type_size


@every_golden
def test_golden_encode(name: str, golden_input: Any) -> None:
    golden, tensor_type = load(FIXTURES / f"{name}.npz"), TensorType[name]
    if "encoded" in golden:
        assert np.array_equal(quantize(golden_input["x"], tensor_type), golden["encoded"])
    if "encoded_imatrix" in golden:
        got = quantize(golden_input["x"], tensor_type, importance=golden_input["importance"])
        assert np.array_equal(got, golden["encoded_imatrix"])


@every_golden
def test_golden_decode(name: str) -> None:
    golden = load(FIXTURES / f"{name}.npz")
    encoded = golden["encoded" if "encoded" in golden else "encoded_imatrix"]
    decoded = dequantize(encoded, TensorType[name])
    assert np.array_equal(bits(decoded[1, :512]), bits(golden["decoded"]))


@every_golden
@pytest.mark.parametrize("suffix", ["", "_imatrix"])
def test_oracle(name: str, suffix: str, oracle: Path) -> None:
    truth, tensor_type = load(oracle / "codecs" / f"{name}.npz"), TensorType[name]
    if "encoded" + suffix not in truth:
        pytest.skip(f"ggml does not encode {name} this way")
    weights = truth["imatrix"] if suffix else None
    encoded = quantize(truth["x"], tensor_type, importance=weights)
    wrong = (encoded != truth["encoded" + suffix]).any(axis=1)
    assert truth["row_names"][wrong].tolist() == []
    decoded = dequantize(truth["encoded" + suffix], tensor_type)
    assert np.array_equal(bits(decoded), bits(truth["decoded" + suffix]))


@every_encoder
def test_zeros_decode_to_zeros(codec: Codec) -> None:
    zeros = np.zeros((1, 512), np.float32)
    data = quantize(zeros, codec.type, importance=np.ones(512, np.float32))
    assert not dequantize(data, codec.type).any()


@every_encoder
def test_rows_tiles_and_jobs_do_not_change_bytes(
    codec: Codec,
    weights: NDArray[np.float32],
    importance: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = quantize(weights, codec.type, importance=importance)
    monkeypatch.setattr(tensors, "TILE_WEIGHTS", 512)
    monkeypatch.setattr(tensors, "KERNEL_TILE_WEIGHTS", 512)
    monkeypatch.setattr(tensors, "STRETCHES_PER_JOB", 7)
    assert np.array_equal(quantize(weights, codec.type, importance=importance), whole)
    assert np.array_equal(quantize(weights, codec.type, importance=importance, jobs=3), whole)
    row = quantize(weights[4], codec.type, importance=importance)
    assert np.array_equal(row, whole[4])
    assert np.array_equal(
        bits(dequantize(whole, codec.type, jobs=3)[4]), bits(dequantize(row, codec.type))
    )


@every_encoder
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(
    codec: Codec, bad: float, weights: NDArray[np.float32], importance: NDArray[np.float32]
) -> None:
    values = weights.copy()
    values[3, 300] = values[4, 1] = bad
    with pytest.raises(NotFiniteError) as caught:
        quantize(values, codec.type, importance=importance)
    assert caught.value.index == (3, 300)


@pytest.mark.parametrize("codec", [c for c in ENCODERS if c.needs_importance], ids=name_of)
def test_refuses_to_work_without_importance(codec: Codec, weights: NDArray[np.float32]) -> None:
    with pytest.raises(ImportanceRequiredError, match=codec.type.name):
        quantize(weights, codec.type)


@every_codec
def test_decodes_any_bytes_without_complaint(codec: Codec) -> None:
    data = np.random.default_rng(9).integers(0, 256, (3, 4 * codec.type.type_size), np.uint8)
    assert dequantize(data, codec.type).shape == (3, 4 * codec.type.block_size)
