"""Every oracle manifest's tensor types, from recipes alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ggufkit.converter.planning.recipes import RECIPES, parse_ladder
from ggufkit.converter.planning.type_selection import choose_types, lacks_importance, model_facts
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.errors import ConversionError
from ggufkit.types import TensorType
from tests.converter.manifests import options_of

CHECKPOINTS = [
    *("bert", "deepseek_v2", "falcon", "gemma2", "gemma3", "gpt2", "llama", "llama-deep"),
    *("llama-oddcols", "llama3-rope", "mistral", "mixtral", "phi3", "qwen2", "qwen3", "qwen3_moe"),
]


def quantize_order(name: str) -> tuple[int, str]:
    block = re.match(r"blk\.(\d+)\.", name)
    return (int(block[1]) if block else -1, name)


def read_candidates(folder: Path) -> tuple[dict[str, object], list[SourceTensor]]:
    manifest = json.loads((folder / "source.bf16.json").read_text())
    metadata = {kv["key"]: kv.get("value", kv.get("first")) for kv in manifest["kv"]}
    tensors = [
        SourceTensor(t["name"], tuple(reversed(t["shape"])), TensorType[t["type"]])
        for t in manifest["tensors"]
    ]
    return metadata, sorted(tensors, key=lambda t: quantize_order(t.name))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_types_are_those_of_llama_quantize(oracle: Path, name: str) -> None:
    folder = oracle / "expected" / name
    metadata, tensors = read_candidates(folder)
    checked = 0
    for path in sorted(folder.glob("*.json")):
        recipe, *parts = path.stem.split(".")
        if recipe not in RECIPES:
            continue
        imatrix = any(part.startswith("imatrix") for part in parts)
        manifest = json.loads(path.read_text())
        options = options_of(manifest.get("options", []))[0]
        facts = model_facts(metadata, has_imatrix=imatrix)
        got = choose_types(tensors, RECIPES[recipe], facts, options)
        want = [(t["name"], t["type"]) for t in manifest["tensors"]]
        assert [(t.name, type_.name) for t, (type_, _) in zip(tensors, got, strict=True)] == want, (
            path.name
        )
        checked += 1
    assert checked >= 18


def test_a_range_leaves_out_special_recipes() -> None:
    names = [recipe.name for recipe in parse_ladder("Q2_K:Q8_0")]
    assert names[0] == "Q2_K"
    assert names[-1] == "Q8_0"
    assert "MXFP4_MOE" not in names
    assert {"Q3_K_S", "Q4_0", "Q4_K_M", "Q5_1", "Q6_K"} <= set(names)


def test_a_list_is_ordered_by_size_and_aliases_are_known() -> None:
    assert [r.name for r in parse_ladder("q8_0, q4_k,Q2_K")] == ["Q2_K", "Q4_K_M", "Q8_0"]


@pytest.mark.parametrize("text", ["Q9_K", "Q8_0:Q2_K", ""])
def test_a_bad_ladder_is_refused(text: str) -> None:
    with pytest.raises(ConversionError):
        parse_ladder(text)


def test_q2_k_s_needs_importance_for_its_q2_k_tensors() -> None:
    facts = model_facts({"general.architecture": "llama"}, has_imatrix=False)
    tensor = SourceTensor("blk.0.ffn_up.weight", (512, 256), TensorType.BF16)
    for name, lacks in (("Q2_K_S", True), ("Q2_K", False)):
        ((type_, _),) = choose_types([tensor], RECIPES[name], facts)
        assert type_ is TensorType.Q2_K
        assert lacks_importance(tensor.name, type_, RECIPES[name]) is lacks


def test_seventy_billion_raises_attn_v() -> None:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 80,
        "llama.attention.head_count": 64,
        "llama.attention.head_count_kv": 8,
    }
    tensor = SourceTensor("blk.9.attn_v.weight", (1024, 8192), TensorType.BF16)
    facts = model_facts(metadata, has_imatrix=False)
    assert choose_types([tensor], RECIPES["Q3_K_S"], facts)[0][0] is TensorType.Q5_K
