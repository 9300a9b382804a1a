"""The vision encoder of Pixtral, and of Mistral Small 3.1 and later, which merges patches."""

from __future__ import annotations

from ggufkit.architectures.vision.base import (
    RENAME,
    Key,
    VisionFamily,
    activation,
    epsilon,
    projector,
)
from ggufkit.mapping.row_transforms import PermuteRope
from ggufkit.mapping.spec import Config, Context, Weight
from ggufkit.mapping.transforms import Unstack
from ggufkit.types import ValueType


def _permute(context: Context) -> PermuteRope:
    config = context.config
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return PermuteRope(int(head_dim))


def _merge_size(config: Config) -> int | None:
    value: int | None = config["model"].get("spatial_merge_size")
    return value


def _break(context: Context) -> Unstack:
    return Unstack(int(context.config["marker"]))


_EMBEDDINGS = "language_model.model.embed_tokens"
_BLOCK = "vision_tower.transformer.layers.{i}"
_PROJECTOR = "multi_modal_projector"

PIXTRAL = VisionFamily(
    hf_classes=("LlavaForConditionalGeneration", "Mistral3ForConditionalGeneration"),
    kind="pixtral",
    keys=(
        projector("pixtral"),
        epsilon(1e-5),
        activation("silu"),
        activation("gelu"),
        Key("vision.spatial_merge_size", ValueType.UINT32, _merge_size),
    ),
    weights=(
        # between rows of patches comes a token of the language model
        Weight("v.token_embd.img_break", f"{_EMBEDDINGS}.weight", _break, full_name=True),
        Weight("v.patch_embd", "vision_tower.patch_conv"),
        Weight("v.pre_ln", "vision_tower.ln_pre"),
        Weight("v.blk.{i}.attn_q", f"{_BLOCK}.attention.q_proj", _permute),
        Weight("v.blk.{i}.attn_k", f"{_BLOCK}.attention.k_proj", _permute),
        Weight("v.blk.{i}.attn_v", f"{_BLOCK}.attention.v_proj"),
        Weight("v.blk.{i}.attn_out", f"{_BLOCK}.attention.o_proj"),
        Weight("v.blk.{i}.ln1", f"{_BLOCK}.attention_norm"),
        Weight("v.blk.{i}.ln2", f"{_BLOCK}.ffn_norm"),
        *(
            Weight(f"v.blk.{{i}}.ffn_{part}", f"{_BLOCK}.feed_forward.{part}_proj")
            for part in ("gate", "up", "down")
        ),
        Weight("mm.1", f"{_PROJECTOR}.linear_1"),
        Weight("mm.2", f"{_PROJECTOR}.linear_2"),
        Weight("mm.input_norm", f"{_PROJECTOR}.norm", optional=True),
        Weight("mm.patch_merger", f"{_PROJECTOR}.patch_merger.merging_layer", optional=True),
    ),
    prefixes=("vision_tower.", f"{_PROJECTOR}.", f"{_EMBEDDINGS}."),
    rename=(*RENAME, (r"^model\.language_model\.(?=embed_tokens\.)", "language_model.model.")),
    marker="[IMG_BREAK]",
    defaults={
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 1024,
        "patch_size": 16,
        "hidden_act": "gelu",
    },
)
