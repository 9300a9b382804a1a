"""The vision encoders of Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from ggufkit.architectures.vision.base import (
    RENAME,
    USE_GELU,
    USE_SILU,
    Key,
    VisionFamily,
    frames,
    projector,
    thirds,
)
from ggufkit.errors import ConversionError
from ggufkit.mapping.model_header import Renames
from ggufkit.mapping.spec import Always, Config, Weight, text_config
from ggufkit.types import ValueType

_BLOCK = "visual.blocks.{i}"


def _common(config: Config) -> dict[str, Any]:
    return {
        "num_attention_heads": config["num_heads"],
        "num_hidden_layers": config["depth"],
        "image_size": config.get("image_size", 560),
    }


def _with_embed_dim(config: Config) -> Mapping[str, Any]:
    """Return Qwen2-VL's sizes; what it calls hidden_size is the language model's width."""
    return {
        **_common(config),
        "intermediate_size": config["hidden_size"],
        "hidden_size": config["embed_dim"],
    }


def _window_pattern(config: Config) -> int:
    """Return after how many blocks one attends to everything.

    Raises
    ------
    ConversionError
        Such blocks do not come at regular distances.
    """
    full = config["fullatt_block_indexes"]
    pattern = int(full[0]) + 1
    if any(b - a != pattern for a, b in pairwise(full)):
        raise ConversionError(f"config.json: fullatt_block_indexes {full} are not regular")
    return pattern


def _mergers(_: Config) -> tuple[int, ...]:
    return (0, 2)


_EPSILON = Key("vision.attention.layer_norm_epsilon", ValueType.FLOAT32, Always(1e-6))
_WEIGHTS = (
    *frames("visual.patch_embed.proj"),
    Weight("v.blk.{i}.ln1", f"{_BLOCK}.norm1"),
    Weight("v.blk.{i}.ln2", f"{_BLOCK}.norm2"),
    Weight("v.blk.{i}.attn_out", f"{_BLOCK}.attn.proj"),
)
_SPLIT = (
    *thirds(f"{_BLOCK}.attn.qkv"),
    Weight("v.post_ln", "visual.merger.ln_q"),
    Weight("mm.{i}", "visual.merger.mlp.{i}", in_layers=_mergers),
)

QWEN2VL = VisionFamily(
    hf_classes=("Qwen2VLForConditionalGeneration",),
    keys=(projector("qwen2vl_merger"), _EPSILON),
    weights=(
        *_WEIGHTS,
        *_SPLIT,
        Weight("v.blk.{i}.ffn_up", f"{_BLOCK}.mlp.fc1"),
        Weight("v.blk.{i}.ffn_down", f"{_BLOCK}.mlp.fc2"),
    ),
    prefixes=("visual.",),
    defaults={
        "depth": 32,
        "embed_dim": 1280,
        "hidden_size": 3584,
        "num_heads": 16,
        "patch_size": 14,
    },
    prepare=_with_embed_dim,
)

QWEN25VL = VisionFamily(
    hf_classes=("Qwen2_5_VLForConditionalGeneration",),
    keys=(
        projector("qwen2.5vl_merger"),
        USE_SILU,
        Key("vision.n_wa_pattern", ValueType.UINT32, _window_pattern),
        _EPSILON,
    ),
    weights=(
        *_WEIGHTS,
        *_SPLIT,
        *(
            Weight(f"v.blk.{{i}}.ffn_{part}", f"{_BLOCK}.mlp.{part}_proj")
            for part in ("gate", "up", "down")
        ),
    ),
    prefixes=("visual.",),
    defaults={
        "depth": 32,
        "hidden_size": 3584,
        "intermediate_size": 3420,
        "num_heads": 16,
        "patch_size": 14,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    prepare=_common,
)


def _deepstack(config: Config) -> list[int]:
    return [int(block) for block in config["deepstack_visual_indexes"]]


def _sizes(config: Config) -> Mapping[str, Any]:
    """Return Qwen3-VL's sizes; the image size follows from the number of positions."""
    side = float(config["num_position_embeddings"]) ** 0.5
    given = config.get("image_size")
    size = int(side * config["patch_size"]) if given is None else given
    return {**_common(config), "image_size": size}


def _is_deepstack(config: Config) -> list[bool]:
    """Return which blocks' outputs go into the language model's first layers."""
    chosen = set(_deepstack(config))
    return [block in chosen for block in range(config["num_hidden_layers"])]


def _renames(config: Config) -> Renames:
    """Return rules that number the mergers of chosen blocks by their blocks."""
    numbered = tuple(
        (rf"^visual\.deepstack_merger_list\.{number}\.", f"visual.deepstack.{block}.")
        for number, block in enumerate(_deepstack(config))
    )
    return (*RENAME, *numbered)


def _text_epsilon(config: Config) -> Any:
    return (text_config(config["model"]) or {}).get("rms_norm_eps", 1e-6)


QWEN3VL = VisionFamily(
    hf_classes=("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
    keys=(
        projector("qwen3vl_merger"),
        USE_GELU,
        Key("vision.spatial_merge_size", ValueType.UINT32, "spatial_merge_size"),
        Key("vision.attention.layer_norm_epsilon", ValueType.FLOAT32, _text_epsilon),
        Key("vision.is_deepstack_layers", ValueType.BOOL, _is_deepstack),
    ),
    weights=(
        *_WEIGHTS,
        Weight("v.patch_embd.bias", "visual.patch_embed.proj.bias", full_name=True),
        Weight("v.position_embd", "visual.pos_embed"),
        Weight("v.blk.{i}.attn_qkv", f"{_BLOCK}.attn.qkv"),
        Weight("v.blk.{i}.ffn_up", f"{_BLOCK}.mlp.linear_fc1"),
        Weight("v.blk.{i}.ffn_down", f"{_BLOCK}.mlp.linear_fc2"),
        Weight("mm.0", "visual.merger.linear_fc1"),
        Weight("mm.2", "visual.merger.linear_fc2"),
        Weight("v.post_ln", "visual.merger.norm"),
        *(
            Weight(
                f"v.deepstack.{{i}}.{ours}",
                f"visual.deepstack.{{i}}.{theirs}",
                in_layers=_deepstack,
            )
            for ours, theirs in (("norm", "norm"), ("fc1", "linear_fc1"), ("fc2", "linear_fc2"))
        ),
    ),
    prefixes=("visual.",),
    defaults={
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
    prepare=_sizes,
    rename=_renames,
)

# the same, without what goes into deeper layers
QWEN35 = replace(
    QWEN3VL,
    hf_classes=("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"),
    defaults={**QWEN3VL.defaults, "deepstack_visual_indexes": []},
)
