"""Merged weights against PEFT's merge_and_unload, whose values the fixtures sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.ladder import open_source, plan_ladder
from ggufkit.converter.lora.merge import Merge, merged, parse_merge
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.errors import ConversionError, UnmappedTensorsError
from ggufkit.gguf.metadata import Metadata
from tests.architectures.checkpoints import weights
from tests.converter.lora.adapters import load, write_adapter_folder, write_case

CASES = ("llama", "llama-embeddings", "llama-alphas", "llama-stabilized", "phi3", "gpt2")


@pytest.mark.parametrize("name", CASES)
def test_weights_are_peft_s(name: str, tmp_path: Path) -> None:
    case = load(name)
    base, adapter = write_case(case, tmp_path)
    plain = Checkpoint.open(base)
    checkpoint = merged(plain, [parse_merge(str(adapter))])
    n_changed = 0
    for tensor, expected in case["merged"].items():
        values = checkpoint.read(tensor)
        at = np.linspace(0, values.size - 1, len(expected)).astype(int)
        # PEFT computes in float32: a few units in the last place of the largest term
        np.testing.assert_allclose(values.ravel()[at], expected, rtol=1e-6, atol=2e-7)
        n_changed += not np.array_equal(values, plain.read(tensor))
    assert n_changed == sum("lora_" in name for name in case["tensors"]) // 2


def test_rows_are_those_of_the_whole(tmp_path: Path) -> None:
    for name in ("llama-embeddings", "gpt2"):
        base, adapter = write_case(load(name), tmp_path / name)
        checkpoint = merged(Checkpoint.open(base), [parse_merge(str(adapter))])
        for tensor in checkpoint.tensors:
            whole = checkpoint.read(tensor)
            np.testing.assert_array_equal(checkpoint.read(tensor, slice(3, 11)), whole[3:11])


def test_scales_and_several_adapters_add_up(tmp_path: Path) -> None:
    base, adapter = write_case(load("phi3"), tmp_path)
    plain = Checkpoint.open(base)
    name = "model.layers.1.self_attn.qkv_proj.weight"
    once = merged(plain, [parse_merge(str(adapter))]).read(name)
    half = merged(plain, [parse_merge(f"{adapter}=0.5")] * 2).read(name)
    none = merged(plain, [parse_merge(str(adapter)), parse_merge(f"{adapter}=-1")]).read(name)
    np.testing.assert_allclose(half, once, atol=1e-7)
    np.testing.assert_allclose(none, plain.read(name), atol=1e-7)
    assert not np.allclose(once, plain.read(name), atol=1e-3)


@pytest.mark.parametrize("kind", ["nf4", "nf4-nested", "fp4-nested"])
def test_a_quantized_base_is_widened_first(kind: str, tmp_path: Path) -> None:
    # made by bitsandbytes, with the weights that it widens them to
    stored = Path(__file__).parents[2] / "checkpoint" / "bitsandbytes.safetensors"
    shutil.copy(stored, tmp_path / "model.safetensors")
    config = load("phi3")["base"] | {"quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    module = f"base_model.model.{kind}"
    tensors = {
        f"{module}.lora_A.weight": ("F32", (4, 128)),
        f"{module}.lora_B.weight": ("F32", (32, 4)),
    }
    adapter = write_adapter_folder(tmp_path / "qlora", {"lora_alpha": 8}, tensors)
    checkpoint = merged(Checkpoint.open(tmp_path), [parse_merge(str(adapter))])
    b = np.frombuffer(weights(f"{module}.lora_B.weight", (32, 4), "F32"), "<f4").reshape(32, 4)
    a = np.frombuffer(weights(f"{module}.lora_A.weight", (4, 128), "F32"), "<f4").reshape(4, 128)
    expected = checkpoint.read(f"{kind}.expected") + 2 * (b @ a)
    np.testing.assert_allclose(checkpoint.read(f"{kind}.weight"), expected, atol=5e-7)


def test_the_fingerprint_covers_adapter_and_scale(tmp_path: Path, monkeypatch) -> None:
    case = load("phi3")
    vocabulary = Metadata(
        {"tokenizer.ggml.tokens": [f"x{i}" for i in range(case["base"]["vocab_size"])]}
    )
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: vocabulary)
    base, adapter = write_case(case, tmp_path)

    def digest(*merges: str) -> str:
        source = open_source(base, merge_lora=merges, self_test=False)
        return plan_ladder(source, tmp_path / "out", "F16").digest

    plain, once = digest(), digest(str(adapter))
    assert once == digest(str(adapter))
    assert len({plain, once, digest(f"{adapter}=0.5"), digest(str(adapter), str(adapter))}) == 4
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")  # as if trained anew
    assert digest(str(adapter)) != once


def test_unmatched_weights_are_one_error_that_lists_them(tmp_path: Path) -> None:
    base, _ = write_case(load("phi3"), tmp_path)
    _, adapter = write_case(load("llama"), tmp_path / "other")
    with pytest.raises(UnmappedTensorsError, match=r"10 weights .*q_proj.* and 2 more"):
        merged(Checkpoint.open(base), [parse_merge(str(adapter))])


def test_an_adapter_of_another_size_is_refused(tmp_path: Path) -> None:
    base, _ = write_case(load("phi3"), tmp_path)
    module = "base_model.model.model.layers.0.self_attn.o_proj"
    tensors = {
        f"{module}.lora_A.weight": ("F32", (4, 32)),
        f"{module}.lora_B.weight": ("F32", (64, 4)),
    }
    adapter = write_adapter_folder(tmp_path / "narrow", {"lora_alpha": 4}, tensors)
    with pytest.raises(ConversionError, match=r"\(64, 32\), the checkpoint's has \(64, 64\)"):
        merged(Checkpoint.open(base), [parse_merge(str(adapter))])


def test_what_works_after_some_tokens_only_is_not_merged(tmp_path: Path) -> None:
    case = load("phi3")
    case["adapter"]["alora_invocation_tokens"] = [1, 2]
    base, adapter = write_case(case, tmp_path)
    with pytest.raises(ConversionError, match="activated LoRA"):
        merged(Checkpoint.open(base), [parse_merge(str(adapter))])


def test_a_scale_is_a_number(tmp_path: Path) -> None:
    _, adapter = write_case(load("phi3"), tmp_path)
    with pytest.raises(ConversionError, match="no scale"):
        parse_merge(f"{adapter}=much")
    assert parse_merge(f"{adapter}=0.25").scale == 0.25
    odd = adapter.rename(adapter.with_name("a=1"))
    assert parse_merge(str(odd)) == Merge(parse_merge(f"{odd}=1").adapter, 1.0)


def test_adapters_are_for_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="--merge-lora are for checkpoints"):
        open_source(tmp_path / "model.gguf", merge_lora=["x"])
