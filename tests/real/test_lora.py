"""Adapters in the real llama.cpp: beside a model they do what they do when merged into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources.lora import LoraSource
from tests.converter.files import write_file
from tests.converter.lora.adapters import write_adapter_folder
from tests.real.llama_lora import next_token

PROMPT = "Hello world"


def adapt_all(base: Path, folder: Path, *, conv1d: bool) -> Path:
    """Write an adapter of every matrix in the blocks of a model."""
    tensors = {}
    for name, shape in Checkpoint.open(base).shapes.items():
        if len(shape) == 2 and name.endswith("proj.weight" if not conv1d else ".weight"):
            if conv1d and "c_" not in name:
                continue
            n_out, n_in = reversed(shape) if conv1d else shape
            module = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{module}.lora_A.weight"] = ("F32", (8, n_in))
            tensors[f"{module}.lora_B.weight"] = ("F32", (n_out, 8))
    config = {"peft_type": "LORA", "lora_alpha": 16, "fan_in_fan_out": conv1d}
    return write_adapter_folder(folder, config, tensors)


# rows of queries and keys that are permuted; matrices with inputs as rows
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_an_adapter_beside_its_base_is_the_merged_model(
    name: str, oracle: Path, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp")
    base = tmp_path / name
    script = oracle / "checkpoints" / "materialize.py"
    subprocess.run([sys.executable, script, name, base], check=True, capture_output=True)
    adapter = adapt_all(base, tmp_path / "adapter", conv1d=name == "gpt2")
    beside = write_file(LoraSource.open(adapter, base=base), tmp_path / "adapter.gguf")
    plain, merged = tmp_path / "plain.gguf", tmp_path / "merged.gguf"
    convert(base, plain, ladder="F32")
    convert(base, merged, ladder="F32", merge_lora=[str(adapter)])

    alone, adapted = next_token(PROMPT, plain), next_token(PROMPT, plain, beside)
    assert adapted == pytest.approx(next_token(PROMPT, merged), abs=5e-3)
    assert next(iter(alone)) != next(iter(adapted))
