"""The vision encoder of InternVL 2.5 and 3, in the layout of their own code."""

from __future__ import annotations

from typing import Any

from ggufkit.architectures.vision.base import (
    Key,
    VisionFamily,
    activation,
    epsilon,
    projector,
    thirds,
)
from ggufkit.mapping.spec import Config, Weight
from ggufkit.types import TensorType, ValueType


def _first(size: Any) -> Any:
    return size[0] if isinstance(size, list) else size


def _sizes(config: Config) -> dict[str, Any]:
    return {name: _first(config[name]) for name in ("image_size", "patch_size")}


def _scale(config: Config) -> int:
    return int(1.0 / config["model"]["downsample_ratio"])


def _tiles(name: str) -> Any:
    return lambda config: config["model"].get(name) or None


def _layers_of_mlp(_: Config) -> tuple[int, ...]:
    return (0, 1, 3)


_MODEL = "vision_model"
_BLOCK = f"{_MODEL}.encoder.layers.{{i}}"

INTERNVL = VisionFamily(
    hf_classes=("InternVLChatModel",),
    keys=(
        projector("internvl"),
        epsilon(1e-6),
        activation("silu"),
        activation("gelu"),
        Key("vision.projector.scale_factor", ValueType.UINT32, _scale),
        Key("vision.preproc_min_tiles", ValueType.UINT32, _tiles("min_dynamic_patch")),
        Key("vision.preproc_max_tiles", ValueType.UINT32, _tiles("max_dynamic_patch")),
    ),
    weights=(
        Weight("v.class_embd", f"{_MODEL}.embeddings.class_embedding", full_name=True),
        Weight("v.position_embd.weight", f"{_MODEL}.embeddings.position_embedding", full_name=True),
        Weight("v.patch_embd", f"{_MODEL}.embeddings.patch_embedding"),
        *thirds(f"{_BLOCK}.attn.qkv"),
        *(
            Weight(f"v.blk.{{i}}.attn_{part}_norm", f"{_BLOCK}.attn.{part}_norm", optional=True)
            for part in "qk"
        ),
        Weight("v.blk.{i}.attn_out", f"{_BLOCK}.attn.proj"),
        Weight("v.blk.{i}.ls1.weight", f"{_BLOCK}.ls1", full_name=True),
        Weight("v.blk.{i}.ls2.weight", f"{_BLOCK}.ls2", full_name=True),
        Weight("v.blk.{i}.ln1", f"{_BLOCK}.norm1"),
        Weight("v.blk.{i}.ln2", f"{_BLOCK}.norm2"),
        Weight("v.blk.{i}.ffn_up", f"{_BLOCK}.mlp.fc1"),
        Weight("v.blk.{i}.ffn_down", f"{_BLOCK}.mlp.fc2"),
        Weight("mm.model.mlp.{i}", "mlp1.{i}", in_layers=_layers_of_mlp),
    ),
    prefixes=("vision_model.", "mlp1."),
    defaults={"hidden_act": "gelu"},
    prepare=_sizes,
    rename=(),
    types={"v.position_embd.": TensorType.F32},
)
