"""Baichuan 1 and 2: a llama with fused projections. llama.cpp gives 13B its ALiBi.

Source: llama.cpp conversion/baichuan.py BaichuanModel; the modeling code in the models'
repositories.
"""

from __future__ import annotations

from ggufkit.mapping.blocks import HPARAMS, decoder, per_head, without
from ggufkit.mapping.row_transforms import Chunk, PermuteRope
from ggufkit.mapping.spec import Architecture, Context, Hparam, Weight
from ggufkit.mapping.transforms import Compose, Transform

# What the converter calls the order of rows that `permute` makes.
LAYOUT = Hparam("tensor_data_layout", lambda _: "Meta AI original pth")


def queries(context: Context) -> Transform:
    """Return the transform of the fused projection to queries."""
    return Compose(Chunk(0, of=3), PermuteRope(per_head(context.config)))


def keys(context: Context) -> Transform:
    """Return the transform of the fused projection to keys."""
    return Compose(Chunk(1, of=3), PermuteRope(per_head(context.config)))


def values(_: Context) -> Transform:
    """Return the transform of the fused projection to values."""
    return Chunk(2, of=3)


_FUSED = "model.layers.{i}.self_attn.W_pack"

BAICHUAN = Architecture(
    name="baichuan",
    title="Baichuan 1 and 2",
    hf_classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    tokenizer="spm",
    hparams=(*HPARAMS, LAYOUT, Hparam("rope.dimension_count", per_head)),
    weights=(
        *without(decoder(), "attn_q", "attn_k", "attn_v"),
        Weight("blk.{i}.attn_q", _FUSED, queries),
        Weight("blk.{i}.attn_k", _FUSED, keys),
        Weight("blk.{i}.attn_v", _FUSED, values),
    ),
)
