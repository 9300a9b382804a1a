"""Qwen2-VL and 2.5-VL, Qwen3-VL with and without experts: their language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.architectures.qwen import QWEN2, QWEN3, QWEN3MOE
from ggufkit.mapping.blocks import EXPERT_PARTS, FFN, HPARAMS, QK_NORMS, decoder, experts, without
from ggufkit.mapping.row_transforms import Chunk
from ggufkit.mapping.spec import Config, Context, Hparam, Weight
from ggufkit.mapping.transforms import Compose, Oriented, Transform


def n_deepstack(config: Config) -> int:
    """Return how many of the first layers are given what deeper layers of the vision part see."""
    vision = config.get("vision_config")
    given = vision.get("deepstack_visual_indexes") if isinstance(vision, Mapping) else None
    return len(given or ())


def _down(context: Context) -> Transform:
    config = context.config
    return Oriented(int(config["hidden_size"]), int(config["moe_intermediate_size"]))


def _gate_up(context: Context) -> Transform:
    config = context.config
    return Oriented(2 * int(config["moe_intermediate_size"]), int(config["hidden_size"]))


def _gate(context: Context) -> Transform:
    return Compose(_gate_up(context), Chunk(0))


def _up(context: Context) -> Transform:
    return Compose(_gate_up(context), Chunk(1))


_DEEPSTACK = Hparam("n_deepstack_layers", n_deepstack)
_MLP = "model.layers.{i}.mlp"

QWEN2VL = replace(
    QWEN2,
    name="qwen2vl",
    hf_classes=(
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2VLModel",
    ),
    defaults={**QWEN2.defaults, "rms_norm_eps": 1e-5, "num_key_value_heads": 8},
    hparams=HPARAMS,
    rename=RENAME,
    ignore=OTHER_PARTS,
)

QWEN3VL = replace(
    QWEN3,
    name="qwen3vl",
    hf_classes=("Qwen3VLForConditionalGeneration",),
    hparams=(*QWEN3.hparams, _DEEPSTACK),
    rename=RENAME,
    ignore=OTHER_PARTS,
)

QWEN3VLMOE = replace(
    QWEN3MOE,
    name="qwen3vlmoe",
    hf_classes=("Qwen3VLMoeForConditionalGeneration",),
    hparams=(*QWEN3MOE.hparams, _DEEPSTACK),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate"),
        *experts(f"{_MLP}.experts", EXPERT_PARTS),
        # published stacks have inputs as rows; what transformers 5 saves is like other models'
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_exps.weight",
                f"{_MLP}.experts.{source}",
                transform,
                optional=True,
                exact=True,
            )
            for part, source, transform in (
                ("down", "down_proj", _down),
                ("gate", "gate_up_proj", _gate),
                ("up", "gate_up_proj", _up),
            )
        ),
    ),
    rename=RENAME,
    ignore=OTHER_PARTS,
)
