"""Mistral Small 3.1 and later, Ministral 3: the llama of a multimodal model, with yarn.

Source: llama.cpp conversion/mistral3.py Mistral3Model; transformers mistral3, ministral3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ggufkit.architectures.llama import LLAMA
from ggufkit.gguf.metadata import Value
from ggufkit.mapping import rope
from ggufkit.mapping.spec import Config, Hparam


def _text_type(config: Config) -> Any:
    text = config.get("text_config")
    return (text if isinstance(text, dict) else config).get("model_type")


def is_dense(config: Config) -> bool:
    """Return whether the text part is this one; Mistral 4's has experts and latent attention."""
    return bool(_text_type(config) != "mistral4")


def is_ministral(config: Config) -> bool:
    """Return whether the text part is Ministral 3's."""
    return bool(config.get("model_type") == "ministral3")


def default_rope(config: Config) -> dict[str, Any] | None:
    """Return transformers' default of rope_parameters: Ministral 3's, or none."""
    if not is_ministral(config) or config.get("rope_scaling") is not None:
        return None
    return {
        "rope_type": "yarn",
        "rope_theta": 1_000_000.0,
        "factor": 16.0,
        "original_max_position_embeddings": 16384,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale_all_dim": 1.0,
        "llama_4_scaling_beta": 0.1,
    }


def of_ministral(name: str) -> Any:
    """Return a function that reads Ministral 3's rope parameter `name`, which it must have."""

    def value(config: Config) -> Value | None:
        return float(rope.full(config)[name]) if is_ministral(config) else None

    return value


def _by_type(ministral: int | float, mistral: int | float) -> Any:
    return lambda config: ministral if is_ministral(config) else mistral


MISTRAL3 = replace(
    LLAMA,
    name="mistral3",
    title="Mistral 3, Ministral 3",
    hf_classes=("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    defaults={
        "max_position_embeddings": _by_type(262144, 131072),
        "rms_norm_eps": _by_type(1e-5, 1e-6),
        "rope_parameters": default_rope,
        "rope_theta": 10000.0,
        "num_key_value_heads": 8,
        "head_dim": LLAMA.defaults["head_dim"],
    },
    hparams=(
        *LLAMA.hparams,
        Hparam("rope.scaling.yarn_log_multiplier", of_ministral("mscale_all_dim")),
        Hparam("attention.temperature_scale", of_ministral("llama_4_scaling_beta")),
    ),
    # the part that sees is another file's
    ignore=("*vision_tower.*", "*vision_encoder.*", "*multi_modal_projector.*"),
    when=is_dense,
)
