"""Checkpoint -> GGUF F32 -> checkpoint -> GGUF F32: the tensors of both kinds come back.

All cases of ``tests/architectures/converted`` and all checkpoints of the oracle.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggufkit import GGUFModel, dequantize
from ggufkit.architectures.registry import find_architecture
from ggufkit.checkpoint import Checkpoint
from ggufkit.converter import ladder
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.export.plan import plan_export
from ggufkit.export.write import export_hf
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.open import open_gguf
from ggufkit.mapping.matching import canonical_name
from ggufkit.mapping.transforms import trimmed
from tests.architectures.checkpoints import write_checkpoint
from tests.architectures.test_converted import CASES
from tests.converter.test_oracle import MODELS, pre_of

# Of sources that do not come back as they were, and why. Their GGUF tensors still do.
REGROUPED = {
    "qwen2_moe-fused": "experts come back as published checkpoints have them: one tensor each",
    "qwen3_5_moe-vision-fused": "the same",
    "gpt_oss-mxfp4": "MXFP4 blocks come back as the 16-bit weights that they stand for",
}
# Rows that the converter drops are not in the file: of case, tensors, vocabulary.
DROPPED_ROWS = ("gemma3-vision", "model.embed_tokens.weight", 300)
ADDED_ROWS = {
    "gemma3n": "tokens of pictures and sound have rows of zeros in the file",
    "gemma3n-text": "the same",
}
# Rows that llama.cpp's converter drops come back as zeros.
ZEROED_ROWS = {
    "roberta": "positions of padding",
    "xlm-roberta": "the same",
    "xlm-roberta-classifier": "the same",
}
# The type of a GGUF tensor that changes, of those whose values stay.
WIDENED = {"gpt_oss-mxfp4": "the blocks were dequantized"}
# Of a tensor that a checkpoint may have under several names, the first comes back.
COPIES = {"t5": {"decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "shared.weight"}}
# Weights that conversion multiplies come back as the products: a file has no multipliers.
MULTIPLIED = ("falcon_h1", "falcon_h1-plain")
PRODUCTS = (
    *("embed_tokens", "lm_head", "q_proj", "k_proj", "v_proj", "o_proj"),
    *("in_proj", "out_proj", "gate_proj", "down_proj"),
)
# What an export notes, where it is more than nothing.
NOTES = {"mixtral": ("no tokenizer.json: the file has no scores",)}

MODEL_OF_KIND = {
    **dict.fromkeys(("xlm_roberta", "nomic_moe", "t5"), "t5"),
    **dict.fromkeys(("bert", "jina"), "bert"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_converted_case_comes_back(name: str, tmp_path: Path, monkeypatch) -> None:
    round_trip(name, json.loads(CASES[name].read_text()), tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def _settings_without_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are changed here without the weights that belong to them."""
    monkeypatch.setattr(ladder, "checked", lambda source: source)


def test_embeddings_beyond_the_vocabulary_stay_dropped(tmp_path: Path, monkeypatch) -> None:
    name, tensor, n_tokens = DROPPED_ROWS
    case = {**json.loads(CASES[name].read_text()), "n_tokens": n_tokens}
    round_trip(name, case, tmp_path, monkeypatch, dropped=tensor)


def test_weights_multiplied_by_one_come_back(tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES["falcon_h1"].read_text())
    for key, given in case["config"].items():
        if "multiplier" in key:
            case["config"][key] = [1] * len(given) if isinstance(given, list) else 1.0
    round_trip("falcon_h1-ones", case, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", MULTIPLIED)
def test_products_come_back_as_they_are_in_the_file(name: str, tmp_path, monkeypatch) -> None:
    source = write_case(name, json.loads(CASES[name].read_text()), tmp_path, monkeypatch)
    convert(source, tmp_path / "first.gguf", ladder="F32", self_test=False)
    back = Checkpoint.open(export_hf(tmp_path / "first.gguf", tmp_path / "back"))
    assert not any("multiplier" in key for key in back.config)
    with open_gguf(tmp_path / "first.gguf") as file:
        for ours, theirs in (("token_embd", "embed_tokens"), ("blk.1.ssm_in", "in_proj")):
            (its,) = (n for n in back.tensors if theirs in n and ("layers" not in n or ".1." in n))
            values = back.read(its)
            np.testing.assert_array_equal(dequantize(file[f"{ours}.weight"]), values)


LABELS = {str(i): f"label {i}" for i in range(12)}
LONGROPE = {"long_factor": [1.0, 1.5, 2.25, 3.0], "short_factor": [1.0, 1.0, 1.125, 1.25]}
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024, "beta_fast": 16.0}

# Configs of cases with other settings, to go the ways that the cases do not.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("arcee", {"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
    ("seed_oss", {"rope_scaling": {"rope_type": "yarn", "attention_factor": 1.25, **YARN}}),
    ("seed_oss", {"rope_scaling": {"type": "yarn", "extrapolation_factor": 0.5, **YARN}}),
    ("distilbert-classifier", {"id2label": LABELS}),
    ("deepseek_v3", {"norm_topk_prob": False, "scoring_func": "softmax"}),
    ("exaone4", {"sliding_window": None}),
    ("exaone4", {"sliding_window": 64, "sliding_window_pattern": "LG"}),
    ("olmo3", {"sliding_window": 64}),
    ("olmo", {"clip_qkv": 8.5}),
    ("mpt", {"attn_config": {"alibi": False}}),
    ("mpt", {"attn_config": {"alibi": True, "alibi_bias_max": 4, "clip_qkv": 6.5}}),
    ("llama4-text", {"no_rope_layers": [0, 0, 0, 0]}),
    ("nemotron", {"rope_scaling": {"factor": 3.0}}),
    ("nemotron", {"partial_rotary_factor": 0.25}),
    ("glm4", {"partial_rotary_factor": 0.25}),
    ("stablelm", {"use_parallel_residual": True}),
    ("gpt_neox", {"rotary_pct": 1.0, "use_parallel_residual": False}),
    ("minicpm", {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 8}),
    ("granite", {"attention_multiplier": 0.015625, "residual_multiplier": 0.22}),
    ("qwen3_5", {"partial_rotary_factor": 0.5}),
    ("modernbert", {"local_attention": 16, "global_attn_every_n_layers": 2}),
    ("lfm2", {"block_auto_adjust_ff_dim": False, "intermediate_size": 64, "block_ff_dim": 64}),
    ("cohere", {"logit_scale": 0.3}),
    ("t5", {"relative_attention_num_buckets": 32, "decoder_start_token_id": 3}),
    ("gpt_oss", {"sliding_window": 64, "rope_scaling": {"rope_type": "yarn", **YARN}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
def test_other_settings_come_back(name: str, changes: dict, tmp_path: Path, monkeypatch) -> None:
    case = json.loads(CASES[name].read_text())
    text = case["config"].get("text_config", case["config"])
    text.update(changes)
    round_trip(name, case, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["longrope", "su", "yarn"])
def test_both_factors_of_phi_come_back(oracle: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "phi3"
    script = oracle / "checkpoints" / "materialize.py"
    subprocess.run([sys.executable, script, "phi3", source], check=True, stdout=subprocess.DEVNULL)
    config = json.loads((source / "config.json").read_text())
    config |= {
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": kind, **LONGROPE},
    }
    (source / "config.json").write_text(json.dumps(config))
    check("phi3", source, tmp_path, pre=pre_of(oracle, "phi3"))


def round_trip(name: str, case: dict, tmp_path: Path, monkeypatch, dropped: str = "") -> None:
    check(name, write_case(name, case, tmp_path, monkeypatch), tmp_path, dropped=dropped)


def write_case(name: str, case: dict, tmp_path: Path, monkeypatch) -> Path:
    """Write a checkpoint whose tokens are numbered, and return its folder."""
    kind = find_architecture(case["config"]).tokenizer
    vocabulary = Metadata(
        {
            "tokenizer.ggml.model": MODEL_OF_KIND.get(kind, "gpt2"),
            "tokenizer.ggml.tokens": [f"token {i}" for i in range(case["n_tokens"])],
        }
    )
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: vocabulary)
    source = tmp_path / name
    write_checkpoint(source, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_text(json.dumps(content))
    return source


# Cases whose weights are cut up, transposed and stacked in all the ways there are.
INTRICATE = (
    *("bloom", "deepseek_v3", "gpt_oss", "internlm2", "llama4-text", "mamba2"),
    *("qwen3_5_moe", "qwen3_next", "gemma3n-text", "nomic_bert-moe", "qwen3_vl_moe"),
    *("falcon_h1", "granitemoehybrid", "jamba", "glm4_moe_lite-nextn"),
)


@pytest.mark.parametrize("name", INTRICATE)
@pytest.mark.parametrize("rung", ["Q4_0", "F16"])
def test_what_was_rounded_stays_as_it_is(name: str, rung: str, tmp_path: Path, monkeypatch) -> None:
    source = write_case(name, json.loads(CASES[name].read_text()), tmp_path, monkeypatch)
    convert(source, tmp_path / "first.gguf", ladder=rung, self_test=False)
    back = export_hf(tmp_path / "first.gguf", tmp_path / "back")
    convert(back, tmp_path / "second.gguf", ladder="F32", self_test=False)
    with open_gguf(tmp_path / "first.gguf") as one, open_gguf(tmp_path / "second.gguf") as two:
        assert set(one) == set(two)
        for tensor in one:
            values, again = dequantize(one[tensor]), dequantize(two[tensor])
            assert trimmed(values.shape) == trimmed(again.shape)  # norms of a single group
            again = again.reshape(values.shape)
            np.testing.assert_array_equal(bits(values), bits(again), tensor)


@pytest.mark.parametrize("name", MODELS)
def test_every_checkpoint_of_the_oracle_comes_back(oracle: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    script = oracle / "checkpoints" / "materialize.py"
    subprocess.run([sys.executable, script, name, source], check=True, stdout=subprocess.DEVNULL)
    check(name, source, tmp_path, pre=pre_of(oracle, name))
    notes = plan_export(tmp_path / "first.gguf").notes
    expected = NOTES.get(name, ())
    assert len(notes) == len(expected)
    assert all(note.startswith(start) for note, start in zip(notes, expected, strict=True))


def check(name: str, source: Path, folder: Path, *, dropped: str = "", **options: Any) -> None:
    first, second = folder / "first.gguf", folder / "second.gguf"
    convert(source, first, ladder="F32", self_test=False, **options)
    back = export_hf(first, folder / "back")
    convert(back, second, ladder="F32", self_test=False)
    with open_gguf(first) as one, open_gguf(second) as two:
        assert_same_tensors(one, two, widened=name in WIDENED)
        prefix = f"{one.metadata['general.architecture']}."
        assert keys(one, prefix) == keys(two, prefix)
        assert keys(one, "tokenizer.") == keys(two, "tokenizer.")
    assert_same_sources(name, consumed(source, **options), consumed(back), dropped)


def keys(file: GGUFModel, prefix: str) -> dict[str, Any]:
    return {key: value for key, value in file.metadata.items() if key.startswith(prefix)}


def assert_same_tensors(one: GGUFModel, two: GGUFModel, *, widened: bool) -> None:
    assert set(one) == set(two)
    for name in one:
        assert one[name].info.shape == two[name].info.shape, name
        if widened and one[name].info.type != two[name].info.type:
            continue
        assert one[name].info.type == two[name].info.type, name
        assert np.array_equal(one[name].data, two[name].data), name


Tensors = dict[str, tuple[Checkpoint, str]]


def assert_same_sources(name: str, old: Tensors, new: Tensors, dropped: str) -> None:
    if name in REGROUPED:
        assert set(old) != set(new)
        return
    if name in COPIES:
        (copy,), (first,) = COPIES[name] & set(old), COPIES[name] & set(new)
        new[copy] = new.pop(first)
    assert set(old) == set(new)
    for key, (checkpoint, tensor) in old.items():
        if name in MULTIPLIED and key.split(".")[-2] in PRODUCTS:
            continue
        other, its = new[key]
        values, again = checkpoint.read(tensor), other.read(its)
        if key == dropped:
            assert len(again) < len(values)
            values = values[: len(again)]
        if name in ADDED_ROWS and len(again) != len(values):
            assert not again[len(values) :].any()
            again = again[: len(values)]
        if name in ZEROED_ROWS and "position_embeddings" in key:
            assert not again[:2].any()
            values, again = values[2:], again[2:]
        np.testing.assert_array_equal(bits(values), bits(again), key)
        dtypes = {checkpoint.tensors[tensor].dtype, other.tensors[its].dtype}
        # a float32 tensor whose values are all bfloat16's comes back as that
        assert len(dtypes) == 1 or "F32" in dtypes, key


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def consumed(folder: Path, **options: Any) -> Tensors:
    """Return the tensors that a conversion reads, by their names without wrappers' prefixes."""
    checkpoint = Checkpoint.open(folder)
    source = CheckpointSource.open(checkpoint, **options)
    names = [name for mapped in source.mapped.values() for name in mapped.sources]
    return {
        canonical_name(source.architecture, source.config, name): (checkpoint, name)
        for name in names
    }
