"""Baichuan 1 and 2: a llama with fused projections. llama.cpp gives 13B its ALiBi.

Source: llama.cpp conversion/baichuan.py BaichuanModel; the modeling code in the models'
repositories.
"""

from ggufkit.mapping.blocks import HPARAMS, decoder, default_head_dim, without
from ggufkit.mapping.row_transforms import Chunk, PermuteRope
from ggufkit.mapping.spec import Always, Architecture, Context, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Compose, Transform

# What the converter calls the order of rows that `permute` makes.
LAYOUT = Hparam("tensor_data_layout", Always("Meta AI original pth"))


def queries(context: Context) -> Transform:
    """Return the transform of the fused projection to queries."""
    return Compose(Chunk(0, of=3), PermuteRope(default_head_dim(context.config)))


def keys(context: Context) -> Transform:
    """Return the transform of the fused projection to keys."""
    return Compose(Chunk(1, of=3), PermuteRope(default_head_dim(context.config)))


_FUSED = "model.layers.{i}.self_attn.W_pack"

BAICHUAN = Architecture(
    name="baichuan",
    title="Baichuan 1 and 2",
    hf_classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
    tokenizer="spm",
    hparams=(*HPARAMS, LAYOUT, Hparam("rope.dimension_count", default_head_dim)),
    weights=(
        *without(decoder(), "attn_q", "attn_k", "attn_v"),
        Weight("blk.{i}.attn_q", _FUSED, queries),
        Weight("blk.{i}.attn_k", _FUSED, keys),
        Weight("blk.{i}.attn_v", _FUSED, Chunk(2, of=3)),
    ),
    export=ExportSpec("baichuan"),
)
