"""Mistral Small 3.1 and later, Ministral 3: the llama of a multimodal model, with yarn.

Source: llama.cpp conversion/mistral3.py Mistral3Model; transformers mistral3, ministral3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ggufkit.architectures.llama import LLAMA
from ggufkit.gguf.metadata import Value
from ggufkit.mapping import rope
from ggufkit.mapping.config_inverse import shortest_decimal
from ggufkit.mapping.model_header import NULL, Choose, ConfigValues, HasHparam, ModelHeader
from ggufkit.mapping.spec import Config, ExportSpec, Hparam


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


@dataclass(frozen=True)
class MinistralRope:
    """A RoPE parameter that Ministral 3 must have."""

    name: str

    @property
    def inverse(self) -> str:
        """The config key."""
        return f"rope_scaling.{self.name}"

    def __call__(self, config: Config) -> Value | None:
        """Return the value, None for Mistral."""
        return float(rope.full(config)[self.name]) if is_ministral(config) else None


@dataclass(frozen=True)
class ByModel:
    """A default of Ministral 3, and that of Mistral."""

    ministral: int | float
    mistral: int | float

    def __call__(self, config: Config) -> int | float:
        """Return the one for this config."""
        return self.ministral if is_ministral(config) else self.mistral


def _mscales(value: Any, _: ModelHeader) -> ConfigValues:
    """Return the same factor under both of its names."""
    names = ("mscale_all_dim", "mscale")
    return {f"rope_scaling.{name}": shortest_decimal(value) for name in names}


_IS_MINISTRAL = HasHparam("attention.temperature_scale")


MISTRAL3 = replace(
    LLAMA,
    name="mistral3",
    title="Mistral 3, Ministral 3",
    hf_classes=("Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"),
    defaults={
        "max_position_embeddings": ByModel(262144, 131072),
        "rms_norm_eps": ByModel(1e-5, 1e-6),
        "rope_parameters": default_rope,
        "rope_theta": 10000.0,
        "num_key_value_heads": 8,
        "head_dim": LLAMA.defaults["head_dim"],
    },
    hparams=(
        *LLAMA.hparams,
        Hparam("rope.scaling.yarn_log_multiplier", MinistralRope("mscale_all_dim"), _mscales),
        Hparam("attention.temperature_scale", MinistralRope("llama_4_scaling_beta")),
    ),
    # the vision encoder is another file's
    ignore=("*vision_tower.*", "*vision_encoder.*", "*multi_modal_projector.*"),
    matches=is_dense,
    export=ExportSpec(
        "mistral",
        config={
            "model_type": Choose(_IS_MINISTRAL, "ministral3"),
            "architectures": Choose(_IS_MINISTRAL, ["Ministral3ForCausalLM"]),
            "sliding_window": NULL,
        },
        nested="mistral3",
    ),
)
