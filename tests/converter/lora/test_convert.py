"""GGUF adapters against convert_lora_to_gguf.py, and against merging the same adapter.

Fixtures hold configs, names and shapes, and the SHA-256 of the file that llama.cpp's converter
makes when the weights are those of `tests.architectures.checkpoints.weights`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.converter.sources.lora import LoraSource
from ggufkit.errors import ConversionError, OutputError
from ggufkit.gguf.metadata import Metadata
from tests.converter.files import layout, write_file
from tests.converter.lora.adapters import FIXTURES, load, write_adapter_folder, write_case

CASES = {path.stem: load(path.stem) for path in sorted(FIXTURES.glob("*.json"))}
SAME = [name for name, case in CASES.items() if "sha256" in case]
MERGED = [name for name, case in CASES.items() if "merged" in case]


def convert_case(case: Mapping[str, Any], folder: Path) -> Path:
    base, adapter = write_case(case, folder)
    out = folder / "adapter.gguf"
    return write_file(LoraSource.open(adapter, base=base, outtype=case["outtype"]), out)


@pytest.mark.parametrize("name", SAME)
def test_the_file_is_the_converters(name: str, tmp_path: Path) -> None:
    written = convert_case(CASES[name], tmp_path).read_bytes()
    assert hashlib.sha256(written).hexdigest() == CASES[name]["sha256"]


@pytest.mark.parametrize("name", MERGED)
def test_it_adds_what_merging_adds(name: str, tmp_path: Path, monkeypatch) -> None:
    case = dict(CASES[name])
    # PEFT's copies of the base's embeddings, which a GGUF adapter does not have
    case["tensors"] = {k: v for k, v in case["tensors"].items() if "base_layer" not in k}
    vocabulary = Metadata(
        {"tokenizer.ggml.tokens": [f"x{i}" for i in range(case["base"]["vocab_size"])]}
    )
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: vocabulary)
    adapter = GGUFReader(convert_case(case, tmp_path))
    alpha = adapter.fields["adapter.lora.alpha"].contents()
    base, folder = tmp_path / "base", tmp_path / name
    convert(base, tmp_path / "plain.gguf", ladder="F32")
    convert(base, tmp_path / "merged.gguf", ladder="F32", merge_lora=[str(folder)])
    plain = {t.name: t.data for t in GGUFReader(tmp_path / "plain.gguf").tensors}
    parts = {t.name: dequantize(t.data, t.tensor_type) for t in adapter.tensors}
    n_adapted = 0
    for tensor in GGUFReader(tmp_path / "merged.gguf").tensors:
        expected = plain[tensor.name]
        a, b = (parts.get(f"{tensor.name}.lora_{part}") for part in "ab")
        if a is not None:
            product = a @ b.T if tensor.name == "token_embd.weight" else b @ a
            expected = expected + alpha / b.shape[-1] * product
            n_adapted += 1
        bound = 1e-3 if case["outtype"] == "f16" else 2e-6
        np.testing.assert_allclose(tensor.data, expected, rtol=0, atol=bound)
    assert n_adapted == len(case["tensors"]) // 2


def test_the_name_is_the_converters(tmp_path: Path) -> None:
    base, adapter = write_case(CASES["qwen2"], tmp_path)
    folder = adapter.rename(tmp_path / "Tiny-Qwen-lora")
    path = write_file(LoraSource.open(folder, base=base, outtype="bf16"), folder)
    assert path == folder / "Tiny-Qwen-Lora-BF16-LoRA.gguf"


def test_the_base_may_be_its_config_or_be_named_by_the_adapter(tmp_path: Path, monkeypatch) -> None:
    base, adapter = write_case(CASES["phi3"], tmp_path)
    monkeypatch.chdir(tmp_path)  # the adapter names the folder "base"
    named, given = LoraSource.open(adapter), LoraSource.open(adapter, base=base / "config.json")
    assert layout(named, tmp_path) == layout(given, tmp_path)


def test_no_file_is_replaced_without_force(tmp_path: Path) -> None:
    base, adapter = write_case(CASES["phi3"], tmp_path)
    path = tmp_path / "a.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--force"):
        write_file(LoraSource.open(adapter, base=base), path)
    assert path.read_bytes() == b"mine"
    write_file(LoraSource.open(adapter, base=base), path, force=True)
    assert path.read_bytes().startswith(b"GGUF")


def test_an_adapter_of_tied_output_weights_has_no_place(tmp_path: Path) -> None:
    case = dict(CASES["llama-embeddings"])
    case["base"] = {**case["base"], "tie_word_embeddings": True}
    base, adapter = write_case(case, tmp_path)
    with pytest.raises(ConversionError, match="output weights are the token embeddings"):
        LoraSource.open(adapter, base=base)


def test_a_weight_that_the_model_does_not_have_is_named(tmp_path: Path) -> None:
    base, _ = write_case(CASES["llama-ranks"], tmp_path)
    tensors = {
        "base_model.model.model.layers.0.c_attn.lora_A.weight": ("F32", (4, 64)),
        "base_model.model.model.layers.0.c_attn.lora_B.weight": ("F32", (64, 4)),
    }
    adapter = write_adapter_folder(tmp_path / "odd", {"lora_alpha": 4}, tensors)
    with pytest.raises(ConversionError, match=r"llama does not know .*layers\.0\.c_attn"):
        LoraSource.open(adapter, base=base)


def test_a_stack_of_experts_has_to_be_whole(tmp_path: Path) -> None:
    case = dict(CASES["mixtral"])
    case["tensors"] = {k: v for k, v in case["tensors"].items() if "1.experts.1.w2" not in k}
    case["tensors"] = {
        k: v for k, v in case["tensors"].items() if "0.block_sparse_moe.experts.1.w2" not in k
    }
    base, adapter = write_case(case, tmp_path)
    with pytest.raises(ConversionError, match=r"blk\.0\.ffn_down_exps\.weight \(expert 1 of 2\)"):
        LoraSource.open(adapter, base=base)


def test_a_config_that_can_not_be_is_an_error(tmp_path: Path) -> None:
    case = dict(CASES["llama-ranks"])
    case["base"] = {**case["base"], "head_dim": 0, "hidden_size": 1}
    base, adapter = write_case(case, tmp_path)
    with pytest.raises(ConversionError, match="a value that llama can't have"):
        LoraSource.open(adapter, base=base)
