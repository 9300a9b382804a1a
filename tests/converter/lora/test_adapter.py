"""What adapters may be: strengths as PEFT computes them, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.converter.lora.adapter import Adapter
from ggufkit.converter.lora.settings import parse_settings
from ggufkit.errors import ConversionError, GGUFKitError, MissingFileError
from tests.converter.lora.adapters import write_adapter_folder

MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
PAIR = {f"{MODULE}.lora_A.weight": ("F32", (4, 8)), f"{MODULE}.lora_B.weight": ("F32", (8, 4))}
PLAIN = {"peft_type": "LORA", "lora_alpha": 8}


def test_scales_are_peft_s() -> None:
    patterns = {"layers.1.self_attn.k_proj": 40, "^model.layers.0.*v_proj": 3}
    settings = parse_settings({**PLAIN, "alpha_pattern": patterns}, "x")
    assert settings.scale("model.layers.0.self_attn.k_proj", 8) == 1
    assert settings.scale("model.layers.1.self_attn.k_proj", 8) == 5
    assert settings.scale("model.layers.11.self_attn.k_proj", 8) == 1
    assert settings.scale("model.layers.0.self_attn.v_proj", 8) == 3 / 8
    assert parse_settings({**PLAIN, "use_rslora": True}, "x").scale("q", 16) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"use_dora": True}, "DoRA also rescales"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"trainable_token_indices": [1]}, "trained embeddings"),
        ({"target_parameters": ["experts"]}, "no layer's weight"),
        ({"lora_bias": True}, "biases"),
        ({"layer_replication": [[0, 1]]}, "repeats layers"),
        ({"invocation_string": "<x>"}, "switched on by text"),
        ({"init_lora_weights": "pissa_niter_16"}, "path_initial_model_for_weight_conversion"),
        ({"peft_type": "LOHA"}, "a LOHA adapter"),
        ({"peft_type": "IA3"}, "a IA3 adapter"),
        ({"lora_alpha": None}, "not a number"),
        ({"lora_alpha": 0}, "changes nothing"),
        ({"lora_alpha": float("nan")}, "not a number"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "without groups"),
        ({"alpha_pattern": {"a*b*c*d": 1}}, "at most two"),
        ({"alpha_pattern": {"[": 1}}, "alpha_pattern"),
        ({"alpha_pattern": [1]}, "no JSON object"),
        ({"alora_invocation_tokens": ["x"]}, "no list of tokens"),
    ],
)
def test_other_adapters_are_refused_with_the_reason(
    option: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write_adapter_folder(tmp_path / "a", {**PLAIN, **option}, PAIR)
    with pytest.raises(ConversionError, match=message):
        Adapter.open(folder)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{MODULE}.lora_magnitude_vector": ("F32", (8,))}, "DoRA"),
        ({f"{MODULE}.hada_w1_a": ("F32", (8, 4))}, "LoHa"),
        ({f"{MODULE}.lokr_w1": ("F32", (8, 4))}, "LoKr"),
        ({f"{MODULE}.bias": ("F32", (8,))}, "biases"),
        ({"base_model.model.model.embed_tokens.weight": ("F32", (8, 4))}, "whole embeddings"),
        ({"base_model.model.lm_head.weight": ("F32", (8, 4))}, "whole output"),
        ({f"{MODULE}.x.lora_A.weight": ("F32", (4, 8))}, "lora_A, and not the other"),
        (
            {
                f"{MODULE}.x.lora_A.weight": ("F32", (4, 8)),
                f"{MODULE}.x.lora_B.weight": ("F32", (8, 5)),
            },
            "can't be multiplied",
        ),
        (
            {
                f"{MODULE}.x.lora_A.weight": ("F32", (4, 8, 3, 3)),
                f"{MODULE}.x.lora_B.weight": ("F32", (8, 4, 1, 1)),
            },
            "convolutions",
        ),
    ],
)
def test_other_tensors_are_refused_with_the_reason(
    tensors: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = write_adapter_folder(tmp_path / "a", PLAIN, {**PAIR, **tensors})
    with pytest.raises(ConversionError, match=message):
        Adapter.open(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="adapter_config"):
        Adapter.open(tmp_path / "nowhere")
    (tmp_path / "adapter_config.json").write_text(json.dumps(PLAIN))
    with pytest.raises(MissingFileError, match=r"adapter_model\.safetensors nor"):
        Adapter.open(tmp_path)


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    folder = write_adapter_folder(tmp_path / "a", PLAIN, PAIR)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    for n in range(0, len(whole), 37):
        weights.write_bytes(whole[:n])
        with pytest.raises(GGUFKitError):
            Adapter.open(folder)
    weights.write_bytes(whole)
    for text in ("[]", "{", '{"lora_alpha": []}'):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(GGUFKitError):
            Adapter.open(folder)
