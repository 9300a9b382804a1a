"""Tiny checkpoints of every architecture against what llama.cpp's converter makes of them.

Each file of ``converted`` holds a config, the names and shapes that transformers' class gives the
tensors, and the metadata (but the tokenizer's) and tensors of the file that
``convert_hf_to_gguf.py --outtype bf16`` makes when the weights are those of `weights`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file, save_file

from ggufkit.architectures.registry import architectures, find_architecture
from ggufkit.converter import ladder
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.metadata import Metadata
from ggufkit.rules.llama_cpp import PHI_3_TOKENS
from tests.architectures.checkpoints import write_checkpoint

CASES = {p.stem: p for p in sorted((Path(__file__).parent / "converted").glob("*.json"))}

# Tiny models that llama.cpp does not load, although its converter writes them; see refused.json.
NOT_LOADED = ("cohere-qknorm", "mpt-clipped")

# Keys that ggufkit writes and the converter does not, see docs/differences.md.
BEYOND = {"exaone.attention.layer_norm_rms_epsilon"}


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_the_converters(name: str, tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES[name].read_text())
    patch_vocabulary(monkeypatch, case)
    allow_all(name, monkeypatch)
    write_case(tmp_path / name, case)
    convert(tmp_path / name, tmp_path / "out.gguf", ladder="BF16")

    file = GGUFReader(tmp_path / "out.gguf")
    metadata = [
        [key, "/".join(t.name for t in field.types), field.contents()]
        for key, field in file.fields.items()
        if not key.startswith(("GGUF.", "tokenizer.")) and key not in BEYOND
    ]
    assert metadata == case["metadata"]
    tensors = [
        [t.name, [int(n) for n in t.shape][::-1], t.tensor_type.name, digest(t.name, t.data)]
        for t in file.tensors
    ]
    for got, want in zip(tensors, case["tensors"], strict=True):
        assert got[:3] == want[:3]
        # -exp(x) differs from torch's in the last place
        if not want[0].endswith("ssm_a"):
            assert got == want


def write_case(folder: Path, case: dict[str, Any]) -> None:
    write_checkpoint(folder, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))


def allow_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert what is refused otherwise, of the cases that llama.cpp refuses."""
    if name in NOT_LOADED:
        monkeypatch.setattr(ladder, "checked", lambda source: source)


def patch_vocabulary(monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]) -> None:
    """Give a case, which has no tokenizer, what llama.cpp needs of one."""
    tokens = [*PHI_3_TOKENS, *(f"token {i}" for i in range(case["n_tokens"]))]
    types = case["config"].get("type_vocab_size") or 0
    vocabulary = Metadata(
        {
            "tokenizer.ggml.tokens": tokens[: case["n_tokens"]],
            "tokenizer.ggml.token_type_count": types,
        }
    )
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: vocabulary)


def test_experts_are_the_same_in_the_layout_of_transformers_5(tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES["qwen3_vl_moe"].read_text())
    patch_vocabulary(monkeypatch, case)
    shapes = {name: ("F32", shape) for name, (_, shape) in case["checkpoint"].items()}
    files = []
    for layout in ("published", "saved again"):
        folder = tmp_path / layout / "qwen3_vl_moe"
        write_checkpoint(folder, case["config"], shapes)
        if layout == "saved again":
            tensors = load_file(folder / "model.safetensors")
            stacks = {name: t for name, t in tensors.items() if "experts" in name}
            assert len(stacks) == 4
            tensors |= {n: np.ascontiguousarray(t.swapaxes(1, 2)) for n, t in stacks.items()}
            save_file(tensors, folder / "model.safetensors")
        out = tmp_path / layout / "out.gguf"
        convert(folder, out, ladder="BF16")
        files.append(out.read_bytes())
    assert files[0] == files[1]


def digest(name: str, data) -> str:
    return hashlib.sha256(data.tobytes()).hexdigest()[:16]


def test_every_architecture_is_checked_against_the_converter() -> None:
    configs = [json.loads(path.read_text())["config"] for path in CASES.values()]
    checked = {id(find_architecture(config)) for config in configs}
    assert {a.name for a in architectures() if id(a) not in checked} == set()


def test_no_class_belongs_to_two_architectures() -> None:
    by_default = [architecture for architecture in architectures() if architecture.matches is None]
    names = [name for architecture in by_default for name in architecture.hf_classes]
    assert len(names) == len(set(names))
    assert all(find_architecture({"architectures": [name]}) for name in names)


def test_the_documentation_has_every_class() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    documented = {(row[2].strip(), row[3].strip()) for row in rows}
    for architecture in architectures():
        classes = ", ".join(f"`{name}`" for name in architecture.hf_classes)
        assert (f"`{architecture.name}`", classes) in documented
