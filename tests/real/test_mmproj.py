"""Language models and vision parts of tiny models, together in the real llama.cpp."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ggufkit.converter.ladder import convert
from ggufkit.converter.sources.mmproj import MmprojSource
from tests.architectures.checkpoints import write_checkpoint
from tests.converter.files import write_file
from tests.real.llama_sight import prompt_tokens

MODELS = Path(__file__).parents[1] / "architectures"
PARTS = ("vision_", "visual", "projector", "mlp1")

# The fixture of the language model, whose tokenizer it gets, and the tokens of the picture: its
# patches, as many as are left after merging.
CASES = {
    "gemma3": ("gemma3-vision", "gemma3", 4),
    "internvl": ("internvl", "qwen2", 1),
    "llava": ("llava", "llama", 2 * 2),
    "pixtral": ("pixtral", "llama", 7 * 7 + 6),
    "qwen2_vl": ("qwen2_vl-published", "qwen2", 4 * 4),
    "qwen2_5_vl": ("qwen2_5_vl", "qwen2", 4 * 4),
    "qwen3_vl": ("qwen3_vl", "qwen2", 4 * 4),
}


def write_model(folder: Path, vision: str, text: str, tokenizer: Path) -> None:
    """Write a checkpoint of both parts, with a vocabulary that has a tokenizer."""
    case = json.loads((MODELS / "vision" / f"{vision}.json").read_text())
    language = json.loads((MODELS / "converted" / f"{text}.json").read_text())["checkpoint"]
    words = {k: v for k, v in language.items() if not any(part in k for part in PARTS)}
    config = case["config"]
    n_tokens = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    (config.get("text_config") or config.get("llm_config") or config)["vocab_size"] = n_tokens
    if vision == "qwen3_vl":
        # llama.cpp needs more blocks than get what deeper layers see
        config["text_config"]["num_hidden_layers"] = 4
        for number in (0, 1):
            below, above = f".layers.{number}.", f".layers.{number + 2}."
            words |= {k.replace(below, above): v for k, v in words.items() if below in k}
    tensors = {k: sized(k, v, n_tokens) for k, v in {**words, **case["checkpoint"]}.items()}
    write_checkpoint(folder, config, tensors)
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        if (tokenizer / name).exists():
            shutil.copy(tokenizer / name, folder)
    for name, content in case["files"].items():
        given = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps({**given, **content}))


def sized(name: str, tensor: list[Any], n_tokens: int) -> list[Any]:
    if "embed_tokens" not in name and "lm_head" not in name:
        return tensor
    return [tensor[0], [n_tokens, *tensor[1][1:]]]


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_looks_at_a_picture(name: str, oracle: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    text, tokenizer, n_patches = CASES[name]
    folder, model = tmp_path / name, tmp_path / "model.gguf"
    write_model(folder, name, text, oracle / "checkpoints" / tokenizer)
    convert(folder, model, ladder="F32", self_test=False)
    mmproj = write_file(MmprojSource.open(folder), tmp_path / "mmproj.gguf")
    assert prompt_tokens(model, mmproj) > n_patches + 10
