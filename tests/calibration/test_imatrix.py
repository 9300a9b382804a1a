"""Importance matrices in both formats."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from ggufkit.calibration.imatrix import Imatrix, ImatrixEntry
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.errors import ConversionError, FormatError, OutputError
from ggufkit.types import TensorType

ORACLE_MODELS = ["llama", "qwen2", "mixtral", "qwen3_moe"]


@pytest.mark.parametrize("model", ORACLE_MODELS)
@pytest.mark.parametrize("name", ["imatrix.gguf", "imatrix.dat"])
def test_a_file_of_llama_imatrix_survives_reading_and_writing(
    oracle: Path, tmp_path: Path, model: str, name: str
) -> None:
    original = oracle / "expected" / model / name
    Imatrix.open(original).save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == original.read_bytes()


def small() -> Imatrix:
    entries = {
        "blk.0.attn_q.weight": ImatrixEntry(np.float32([[2, 4, 6]]), np.float32([2])),
        "blk.0.ffn_up_exps.weight": ImatrixEntry(np.float32([[3, 9], [5, 7]]), np.float32([3, 0])),
    }
    return Imatrix(entries, "x.gguf", ("text",), 4, 512)


def test_means_are_sums_over_counts_and_unseen_experts_weigh_one() -> None:
    tensors = [
        SourceTensor("blk.0.attn_q.weight", (8, 3), TensorType.F32),
        SourceTensor("blk.0.ffn_up_exps.weight", (2, 4, 2), TensorType.F32),
        SourceTensor("other.weight", (8, 3), TensorType.F32),
    ]
    matched = small().match(tensors)
    assert matched["blk.0.attn_q.weight"].tolist() == [[1, 2, 3]]
    assert matched["blk.0.ffn_up_exps.weight"].tolist() == [[1, 3], [1, 1]]
    assert "other.weight" not in matched


def test_a_matrix_of_another_model_is_refused() -> None:
    with pytest.raises(ConversionError, match="another model"):
        small().match([SourceTensor("blk.0.attn_q.weight", (8, 4), TensorType.F32)])


@pytest.mark.parametrize("n", range(0, 60, 3))
def test_a_truncated_legacy_file_is_refused(tmp_path: Path, n: int) -> None:
    small().save(tmp_path / "m.dat")
    data = (tmp_path / "m.dat").read_bytes()
    (tmp_path / "cut.dat").write_bytes(data[:n])
    with pytest.raises(FormatError):
        Imatrix.open(tmp_path / "cut.dat")


def test_a_claimed_count_takes_no_memory(tmp_path: Path) -> None:
    head = struct.pack("<ii1sii", 1, 1, b"w", 1, 2**31 - 1)
    (tmp_path / "huge.dat").write_bytes(head)
    with pytest.raises(FormatError, match="remain"):
        Imatrix.open(tmp_path / "huge.dat")


def test_negative_importance_is_refused(tmp_path: Path) -> None:
    bad = Imatrix({"w": ImatrixEntry(np.float32([[-1.0]]), np.float32([1]))}, "x.gguf")
    bad.save(tmp_path / "x.gguf")
    with pytest.raises(FormatError, match="negative"):
        Imatrix.open(tmp_path / "x.gguf")


@pytest.mark.parametrize("name", ["x.gguf", "x.dat"])
def test_a_file_that_cannot_be_written_is_an_output_error(tmp_path: Path, name: str) -> None:
    imatrix = Imatrix({"w": ImatrixEntry(np.float32([[1.0]]), np.float32([1]))}, "x.gguf")
    with pytest.raises(OutputError):
        imatrix.save(tmp_path / "missing" / name)
