"""Language models inside of multimodal models: which one it is, and which tensors are not its own.

A multimodal checkpoint's config holds that of its language model, and its tensors lie under a
prefix. The other parts have no place in the language model's file; the vision encoder is a file of
its own, see `ggufkit.architectures.vision`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ggufkit.mapping.blocks import BARE
from ggufkit.mapping.spec import Architecture, Config, text_config

# Classes that llama.cpp's converter reads as the class of their language model, where its config
# does not name one.
INSIDE: Mapping[str, str] = {
    "LlavaForConditionalGeneration": "LlamaForCausalLM",
    "VLlama3ForCausalLM": "LlamaForCausalLM",  # the name that SmolVLM gives its llama
    "VoxtralForConditionalGeneration": "LlamaForCausalLM",
    "AudioFlamingo3ForConditionalGeneration": "Qwen2ForCausalLM",
    "Qwen2AudioForConditionalGeneration": "Qwen2ForCausalLM",
}

# The same, of classes whose config is that of the language model with others in it.
FLAT: Mapping[str, str] = {"DotsOCRForCausalLM": "Qwen2ForCausalLM"}

# Classes whose language model is not of the class that its config names, and what it is; none where
# an architecture of its own covers it.
OTHERWISE: Mapping[str, str] = {
    "Exaone4_5_ForConditionalGeneration": "",
    "KimiK3ForConditionalGeneration": "",
    "Sarashina2VisionForCausalLM": "",
    "Step3p7ForConditionalGeneration": "",
    "StepVLForConditionalGeneration": "Qwen3ForCausalLM",
}

# model_type of the language model, where its config names no class -> its class.
TEXT_CLASSES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "granite": "GraniteForCausalLM",
}

# What belongs to other parts, as llama.cpp's converter knows it.
OTHER_PARTS = (
    *(
        "mlp*",
        "vit.*",
        "vit_large_projector.*",
        "vpm.*",
        "siglip2.*",
        "conformer.*",
        "merger.*",
        "resampler.*",
    ),
    *("sound_encoder.*", "sound_projection.*", "speech_embeddings.*"),
    *("*token2wav.*", "*code2wav.*", "*patch_embedding*"),
    *("*visual.*", "*vision.*", "*audio.*", "*talker.*", "*vision_*", "*audio_*"),
    *("*projector.*", "*pre_mm_projector_norm*", "*image_newline*", "*view_seperator*"),
    *("*patch_embed*", "*patch_merger.*", "*patch_merge_mlp.*", "*model.connector.*"),
)

# Where the language model lies: "language_model.model.", "model.language_model.", ...
RENAME = ((r"language_model\.", ""), (r"text_model\.", ""), *BARE)

# transformers' defaults, of which configs inside of others leave out many.
_LLAMA = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
TEXT_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": _LLAMA,
    "mistral": {
        **_LLAMA,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    },
    "qwen2": {
        **_LLAMA,
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
    },
    "qwen3": {
        **_LLAMA,
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
    },
}


def text_classes(config: Config) -> Iterator[str]:
    """Yield the classes that the language model inside of a multimodal model may have.

    Source: llama.cpp conversion/base.py get_model_architecture.
    """
    text = text_config(config)
    classes = _strings(config.get("architectures"))
    if any(name in OTHERWISE for name in classes):
        yield from (OTHERWISE[name] for name in classes if OTHERWISE.get(name))
        return
    if text is None:
        yield from (FLAT[name] for name in classes if name in FLAT)
        return
    for name in _strings(text.get("architectures")):
        yield INSIDE.get(name, name)
    kind = text.get("model_type")
    if kind is None:
        inside = [INSIDE[name] for name in classes if name in INSIDE]
        yield from inside or ("LlamaForCausalLM",)
    elif str(kind) in TEXT_CLASSES:
        yield TEXT_CLASSES[str(kind)]


def _strings(listed: Any) -> list[str]:
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def text_part(architecture: Architecture, config: Config) -> Architecture:
    """Return an architecture as it lies in a multimodal checkpoint with this config."""
    text = text_config(config) or {}
    defaults = TEXT_DEFAULTS.get(str(text.get("model_type") or "llama"), {})
    own = architecture.defaults  # some are made of what comes before them
    return replace(
        architecture,
        defaults={**defaults, **{k: v for k, v in own.items() if k not in defaults}},
        rename=RENAME,
        ignore=_Ignored(architecture.ignore),
    )


@dataclass(frozen=True)
class _Ignored:
    """What a language model's own architecture ignores, and the other parts."""

    own: tuple[str, ...] | Callable[[Config], tuple[str, ...]]

    def __call__(self, config: Config) -> tuple[str, ...]:
        return (*(self.own(config) if callable(self.own) else self.own), *OTHER_PARTS)
