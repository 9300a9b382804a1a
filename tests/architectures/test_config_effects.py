"""Settings of a config that a file has no place for are refused or named, never lost in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import open_source
from ggufkit.errors import ConversionError
from tests.architectures.test_converted import CASES, allow_all, patch_vocabulary, write_case

# Cases whose config has settings that llama.cpp's converter drops, and what is said of them.
SAID = {
    "deepseek-yarn": "'linear' of config.json is lost",
    "internlm2": "'dynamic' of config.json is lost",
    "internlm3": "'dynamic' of config.json is lost",
    "starcoder2": "sliding window of 4096",
    "llada_moe": "mask_token_id is 156895",
    "mamba2": "lm_head.weight differs",
    "t5": "differs from decoder.embed_tokens",
}


def notes(folder: Path, name: str, monkeypatch, tensors: dict | None = None, **config) -> str:
    """What opening a checkpoint with a changed config says."""
    case = json.loads(CASES[name].read_text())
    patch_vocabulary(monkeypatch, case)
    case["config"] |= config
    case["checkpoint"] |= tensors or {}
    write_case(folder / name, case)
    return "; ".join(open_source(folder / name, self_test=False).origin.get("notes", ()))


@pytest.mark.parametrize("name", CASES)
def test_a_config_of_transformers_is_said_to_lose_only_what_it_loses(
    name: str, tmp_path: Path, monkeypatch
) -> None:
    allow_all(name, monkeypatch)
    said = notes(tmp_path, name, monkeypatch)
    assert SAID[name] in said if name in SAID else not said


KEPT = [
    ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    ("llama", {"rope_scaling": {"rope_type": "default"}}),
    ("llama", {"rope_scaling": {"type": "mrope", "rope_type": "default"}}),
    ("llama", {"rope_scaling": None}),
    ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}),
    ("qwen2", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}}),
]
LOST = [
    ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic' of config.json is"),
    ("cohere", {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "'linear' of config.json"),
    ("qwen2", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "'llama3' of config.json"),
    ("llama", {"rope_scaling": {"rope_type": "yarn"}}, "has no factor"),
    ("llama", {"rope_parameters": {"rope_type": "linear"}}, "has no factor"),
    ("llama", {"rope_scaling": {"rope_type": "default", "warp": 3}}, "settings warp"),
    ("llama", {"partial_rotary_factor": 0.5}, "a part of 0.5 of each head"),
    ("qwen2", {"rope_parameters": {"partial_rotary_factor": 0.25}}, "a part of 0.25 of each"),
    ("llama", {"rope_scaling": {"factor": 2.0}}, "a factor, but no rope_type"),
    (
        "gemma3",
        {"rope_parameters": {"sliding_attention": {"rope_type": "yarn", "factor": 2.0}}},
        "'yarn' of layers with sliding windows is lost",
    ),
    ("llama", {"sliding_window": 128, "max_position_embeddings": 2048}, "sliding window of 128"),
    ("qwen2", {"sliding_window": 128, "use_sliding_window": True}, "sliding window of 128"),
    ("llama", {"attention_bias": True}, "attention_bias is true, but the checkpoint has no"),
    ("llama", {"mlp_bias": True}, "mlp_bias is true, but the checkpoint has no"),
    ("llama", {"embedding_multiplier": 12.0}, "nothing reads: embedding_multiplier"),
    ("qwen2", {"attn_logit_softcapping": 30.0, "clip_qkv": 8}, "attn_logit_softcapping, clip_qkv"),
    ("llama", {"alibi": True}, "nothing reads: alibi"),
]
REFUSED = [
    ("llama", {"rope_scaling": {"rope_type": "warped", "factor": 2.0}}, "warped.*has no word"),
    ("qwen2", {"rope_scaling": {"type": "ntk-by-parts", "factor": 2}}, "ntk-by-parts.*no word"),
    ("llama", {"rope_parameters": {"rope_type": "proportional"}}, "proportional.*has no word"),
    (
        "llama",
        {"rope_scaling": {"rope_type": "yarn", "type": "linear", "factor": 2.0}},
        "contradict each other, linear and yarn",
    ),
    (
        "qwen2",
        {
            "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
            "rope_parameters": {"rope_type": "linear", "factor": 2.0},
        },
        "contradict each other, linear and yarn",
    ),
    (
        "qwen2",
        {
            "rope_scaling": {"rope_type": "yarn", "factor": 2.0},
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0},
        },
        "contradict each other, factor is 4.0 and 2.0",
    ),
    ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu', but llama.cpp computes silu"),
    ("qwen2", {"hidden_act": "relu2"}, "llama.cpp computes silu in every qwen2 model"),
    ("gemma2", {"hidden_activation": "silu"}, "llama.cpp computes gelu"),
    ("gpt2", {"activation_function": "relu"}, "llama.cpp computes gelu"),
    ("nemotron", {"hidden_act": "silu"}, "llama.cpp computes relu2"),
]


@pytest.mark.parametrize(("name", "config"), KEPT)
def test_scalings_that_a_file_has_are_not_remarked_on(
    name: str, config: dict, tmp_path: Path, monkeypatch
) -> None:
    assert not notes(tmp_path, name, monkeypatch, **config)


@pytest.mark.parametrize(("name", "config", "said"), LOST)
def test_what_is_lost_is_named(
    name: str, config: dict, said: str, tmp_path: Path, monkeypatch
) -> None:
    assert said in notes(tmp_path, name, monkeypatch, **config)


@pytest.mark.parametrize(("name", "config", "said"), REFUSED)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    name: str, config: dict, said: str, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(ConversionError, match=said):
        notes(tmp_path, name, monkeypatch, **config)


def test_biases_in_spite_of_the_config_are_written_and_said(tmp_path: Path, monkeypatch) -> None:
    bias = {f"model.layers.{i}.self_attn.q_proj.bias": ("BF16", [64]) for i in range(2)}
    said = notes(tmp_path, "llama", monkeypatch, bias, attention_bias=False)
    assert "attention_bias is false, but the checkpoint has such biases" in said


def test_a_note_is_in_the_summary_and_in_the_record(tmp_path: Path, monkeypatch, capsys) -> None:
    scaling = {"rope_type": "dynamic", "factor": 2.0}
    notes(tmp_path, "llama", monkeypatch, rope_scaling=scaling)
    out = tmp_path / "out" / "m.gguf"
    assert main(["convert", str(tmp_path / "llama"), "-o", str(out), "--ladder", "F16"]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("'dynamic' of config.json is lost") == 1
    record = json.loads((out.parent / "ladder.json").read_text())["files"]["m.gguf"]
    assert "'dynamic'" in record["source"]["notes"][0]
