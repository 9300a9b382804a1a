"""gpt-oss with MXFP4 experts: kept in float files, and requantized as llama-quantize does.

That the BF16 file is the real converter's is checked by tests/architectures/test_converted.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.metadata import Metadata
from tests.architectures.checkpoints import write_checkpoint

CASE = Path(__file__).parents[1] / "architectures" / "converted" / "gpt_oss-mxfp4.json"
MXFP4_MOE = 38  # llama.h
EXPERTS = "_exps.weight"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch) -> Path:
    case = json.loads(CASE.read_text())
    vocabulary = Metadata({"tokenizer.ggml.tokens": [f"t{i}" for i in range(case["n_tokens"])]})
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: vocabulary)
    write_checkpoint(tmp_path / "oss", case["config"], case["checkpoint"])
    return tmp_path / "oss"


def experts(path: Path) -> dict:
    return {t.name: t for t in GGUFReader(path).tensors if t.name.endswith(EXPERTS)}


def test_every_float_file_and_mxfp4_moe_have_the_same_blocks(checkpoint: Path) -> None:
    ladder = convert(checkpoint, checkpoint.parent / "out", ladder="F32,F16,BF16,MXFP4_MOE")
    wanted = experts(ladder.paths[0])
    assert len(wanted) == 6
    for path in ladder.paths:
        assert GGUFReader(path).fields["general.file_type"].contents() == MXFP4_MOE
        for name, tensor in experts(path).items():
            assert tensor.tensor_type.name == "MXFP4"
            assert np.array_equal(tensor.data, wanted[name].data)


def test_blocks_are_the_codes_and_exponents_of_the_checkpoint(checkpoint: Path) -> None:
    """The formula of the format, in float64 and code by code."""
    from ggufkit.checkpoint.safetensors import read_header, read_raw

    path = convert(checkpoint, checkpoint.parent / "a.gguf", ladder="BF16").paths[0]
    stored = read_header(checkpoint / "model.safetensors")
    prefix = "model.layers.1.mlp.experts."
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
    wide = {}
    for part in ("gate_up_proj", "down_proj"):
        blocks, scales = (read_raw(stored[f"{prefix}{part}_{p}"]) for p in ("blocks", "scales"))
        codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, 32)
        numbers = values[codes] * 2.0 ** (scales.astype(int) - 127)[..., None]
        wide[part] = numbers.reshape(*scales.shape[:2], -1)
    found = {name: dequantize(t.data, t.tensor_type) for name, t in experts(path).items()}
    for name, expected in (
        ("down", wide["down_proj"]),
        ("gate", wide["gate_up_proj"][:, 0::2]),
        ("up", wide["gate_up_proj"][:, 1::2]),
    ):
        assert np.array_equal(found[f"blk.1.ffn_{name}{EXPERTS}"], expected)


@pytest.mark.parametrize("rung", ["Q4_0", "Q8_0", "Q4_K_M", "MXFP4_MOE"])
def test_rungs_are_those_of_the_float_file(checkpoint: Path, rung: str) -> None:
    """llama-quantize starts from the BF16 file and, allowed to, decodes its MXFP4 experts."""
    folder = checkpoint.parent
    direct = convert(checkpoint, folder / "direct.gguf", ladder=rung, via="bf16").paths[0]
    middle = convert(checkpoint, folder / "middle.gguf", ladder="BF16").paths[0]
    second = convert(middle, folder / "second.gguf", ladder=rung, allow_requantize=True).paths[0]
    assert direct.read_bytes() == second.read_bytes()


def test_the_plan_says_what_is_kept(checkpoint: Path) -> None:
    ladder = convert(checkpoint, checkpoint.parent / "out", ladder="BF16")
    said = ladder.plan.source.origin["quantized"]
    assert said == "MXFP4; MXFP4 keeps 6 tensors as they are"
