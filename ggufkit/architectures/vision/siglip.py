"""Vision encoders made of SigLIP: those of Gemma 3, and of Idefics 3 and SmolVLM."""

from __future__ import annotations

from typing import Any

from ggufkit.architectures.vision.base import (
    RENAME,
    USE_GELU,
    Key,
    VisionFamily,
    encoder,
    epsilon,
    projector,
)
from ggufkit.mapping.spec import Config, Weight
from ggufkit.mapping.transforms import AddOne
from ggufkit.types import TensorType, ValueType

_USUAL_SCALE = 4  # what llama.cpp takes where a file says nothing


def _gemma_scale(config: Config) -> int | None:
    """Return how many patches become one on each side, where that is unusual."""
    per_side = int(config["processor"].get("image_seq_length", 256) ** 0.5)
    scale = config["image_size"] // config["patch_size"] // per_side
    return scale if scale > 0 and scale != _USUAL_SCALE else None


def _longest_edge(config: Config) -> Any:
    return (config["processor"].get("size") or {}).get("longest_edge", config["image_size"])


def _scale(config: Config) -> Any:
    return config["model"].get("scale_factor", 2)


def _siglip(prefix: str) -> tuple[Weight, ...]:
    return (
        Weight("v.patch_embd", f"{prefix}.embeddings.patch_embedding"),
        Weight("v.position_embd", f"{prefix}.embeddings.position_embedding"),
        *encoder(f"{prefix}.encoder.layers.{{i}}"),
        Weight("v.post_ln", f"{prefix}.post_layernorm"),
    )


_POSITIONS = {"v.position_embd.": TensorType.F32}

GEMMA3 = VisionFamily(
    hf_classes=("Gemma3ForConditionalGeneration",),
    keys=(
        projector("gemma3"),
        epsilon(1e-6),
        USE_GELU,
        Key("vision.projector.scale_factor", ValueType.UINT32, _gemma_scale),
    ),
    weights=(
        *_siglip("vision_tower.vision_model"),
        Weight("mm.input_projection", "multi_modal_projector.mm_input_projection"),
        Weight("mm.soft_emb_norm", "multi_modal_projector.mm_soft_emb_norm", AddOne()),
    ),
    prefixes=("vision_tower.", "multi_modal_projector."),
    defaults={
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 16,
    },
    rename=(
        *RENAME,
        (r"_weight$", ".weight"),
        (r"^vision_tower\.(?=(embeddings|encoder|post_layernorm)\.)", "vision_tower.vision_model."),
    ),
    # pools the output for classification
    ignore=("*vision_model.head.*",),
    # its values are beyond what coarser types hold well
    types={"mm.input_projection": TensorType.F16, "v.patch_embd.": TensorType.F32, **_POSITIONS},
)

IDEFICS3 = VisionFamily(
    hf_classes=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
    keys=(
        projector("idefics3"),
        epsilon(1e-6),
        Key("vision.projector.scale_factor", ValueType.UINT32, _scale),
        USE_GELU,
        Key("vision.preproc_image_size", ValueType.UINT32, _longest_edge),
    ),
    weights=(
        *_siglip("model.vision_model"),
        Weight("mm.model.fc", "model.connector.modality_projection.proj"),
    ),
    prefixes=("model.vision_model.", "model.connector."),
    defaults={
        "hidden_size": 1152,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 32,
    },
    rename=(),
    types={"v.patch_embd.": TensorType.F32, **_POSITIONS},
)
