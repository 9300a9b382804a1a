"""InternLM 2 and 2.5: queries, keys and values are one tensor in groups.

Source: llama.cpp conversion/internlm.py InternLM2Model; the modeling code in the models'
repositories.
"""

from ggufkit.mapping.blocks import HPARAMS, default_head_dim, n_heads
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.row_transforms import PermuteRope, UnfuseGroups
from ggufkit.mapping.spec import Architecture, Context, ExportSpec, Weight
from ggufkit.mapping.transforms import Compose, Transform


def _groups(context: Context, part: int) -> UnfuseGroups:
    """Return the transform to one part of the groups: queries, a key and a value for each."""
    config = context.config
    size = default_head_dim(config)
    queries = config["num_attention_heads"] // config["num_key_value_heads"]
    return UnfuseGroups((queries * size, size, size), (part,))


def queries(context: Context) -> Transform:
    """Return the transform of the fused projection to queries."""
    return Compose(_groups(context, 0), PermuteRope(default_head_dim(context.config)))


def keys(context: Context) -> Transform:
    """Return the transform of the fused projection to keys."""
    return Compose(_groups(context, 1), PermuteRope(default_head_dim(context.config)))


def values(context: Context) -> Transform:
    """Return the transform of the fused projection to values."""
    return _groups(context, 2)


_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.attention"
_FFN = f"{_LAYER}.feed_forward"

INTERNLM2 = Architecture(
    name="internlm2",
    title="InternLM 2, 2.5",
    hf_classes=("InternLM2ForCausalLM",),
    tokenizer="internlm2",
    defaults={"num_key_value_heads": n_heads},
    hparams=HPARAMS,
    weights=(
        Weight("token_embd", "model.tok_embeddings"),
        Weight("output_norm", "model.norm"),
        Weight("output", "output", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.attention_norm"),
        Weight("blk.{i}.attn_q", f"{_ATTENTION}.wqkv", queries),
        Weight("blk.{i}.attn_k", f"{_ATTENTION}.wqkv", keys),
        Weight("blk.{i}.attn_v", f"{_ATTENTION}.wqkv", values),
        Weight("blk.{i}.attn_output", f"{_ATTENTION}.wo"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.ffn_norm"),
        Weight("blk.{i}.ffn_gate", f"{_FFN}.w1"),
        Weight("blk.{i}.ffn_up", f"{_FFN}.w3"),
        Weight("blk.{i}.ffn_down", f"{_FFN}.w2"),
    ),
    export=ExportSpec("internlm2", config={"bias": HAS_BIASES}),
)
