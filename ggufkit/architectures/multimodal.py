"""Language models inside of multimodal models: which one it is, and which tensors are not its own.

A multimodal checkpoint's config holds that of its language model, and its tensors lie under a
prefix. The other parts have no place in the language model's file; the vision encoder is a file of
its own, see `ggufkit.architectures.vision`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ggufkit.mapping.blocks import BARE
from ggufkit.mapping.spec import Architecture, Config, text_config

# Classes whose language model is one of several kinds.
WRAPPERS = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
    "Idefics3ForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "InternVLChatModel",
    "InternVLForConditionalGeneration",
)

# model_type of the language model, where its config names no class -> its class.
TEXT_CLASSES: Mapping[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "gpt_oss": "GptOssForCausalLM",
}

# The names that SmolVLM has given its llama.
SAME_CLASS: Mapping[str, str] = {"VLlama3ForCausalLM": "LlamaForCausalLM"}

# What belongs to other parts, as llama.cpp's converter knows it.
OTHER_PARTS = (
    *("mlp*", "vit.*", "vpm.*", "siglip2.*", "conformer.*", "merger.*", "resampler.*"),
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
    """Yield the classes that the language model inside of a wrapper may have."""
    given = config.get("architectures")
    names = given if isinstance(given, list) else []
    text = text_config(config)
    if text is None or not any(name in WRAPPERS for name in names):
        return
    named = text.get("architectures")
    for name in named if isinstance(named, list) else []:
        yield SAME_CLASS.get(str(name), str(name))
    kind = str(text.get("model_type") or "llama")
    if kind in TEXT_CLASSES:
        yield TEXT_CLASSES[kind]


def text_part(architecture: Architecture, config: Config) -> Architecture:
    """Return an architecture as it lies in a multimodal checkpoint with this config."""
    text = text_config(config) or {}
    defaults = TEXT_DEFAULTS.get(str(text.get("model_type") or "llama"), {})
    own = architecture.defaults  # some are made of what comes before them
    ignored = () if callable(architecture.ignore) else architecture.ignore
    return replace(
        architecture,
        defaults={**defaults, **{k: v for k, v in own.items() if k not in defaults}},
        rename=RENAME,
        ignore=(*ignored, *OTHER_PARTS),
    )
