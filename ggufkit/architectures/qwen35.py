"""Qwen 3.5 and 3.6: Qwen3-Next with value heads in llama.cpp's order.

Source: llama.cpp conversion/qwen.py Qwen3_5TextModel; transformers qwen3_5.
"""

from dataclasses import replace

from ggufkit.architectures.qwen3next import (
    BLOCK_COUNT,
    BLOCK_WEIGHTS,
    LINEAR_DEFAULTS,
    LINEAR_HPARAMS,
    QWEN3NEXT,
    layers_with_mtp,
    linear,
    mtp_names,
)
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, feed_forward, replaced
from ggufkit.mapping.row_transforms import ReorderHeads, TileColumns
from ggufkit.mapping.spec import Config, Context, ExportSpec, Hparam
from ggufkit.mapping.transforms import Compose, NegativeExp, Squeeze, Transform


def tiles(config: Config, head_dim: int = 1, start: int = 0) -> ReorderHeads:
    """Return the order of the heads of values."""
    groups, heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    return ReorderHeads(groups, heads // groups, head_dim, start)


def tiled(context: Context) -> ReorderHeads:
    """Return the order of one row per head."""
    return tiles(context.config)


def tiled_values(context: Context) -> ReorderHeads:
    """Return the order of rows of values."""
    return tiles(context.config, context.config["linear_value_head_dim"])


def tiled_columns(context: Context) -> TileColumns:
    """Return the order of columns that take values."""
    return TileColumns(tiled_values(context))


def tiled_after_keys(context: Context) -> ReorderHeads:
    """Return the order of rows of values that come after queries and keys."""
    config = context.config
    keys = 2 * config["linear_key_head_dim"] * config["linear_num_key_heads"]
    return tiles(config, config["linear_value_head_dim"], keys)


def tiled_convolution(context: Context) -> Transform:
    """Return the transform of convolutions over queries, keys and values."""
    return Compose(Squeeze(), tiled_after_keys(context))


def tiled_decay(context: Context) -> Transform:
    """Return the transform of decays, one per head."""
    return Compose(NegativeExp(), tiles(context.config))


_LAYER = "model.layers.{i}"
_MLP = f"{_LAYER}.mlp"


TILED_WEIGHTS = (
    linear("attn_qkv", "in_proj_qkv", tiled_after_keys),
    linear("attn_gate", "in_proj_z", tiled_values),
    linear("ssm_alpha", "in_proj_a", tiled),
    linear("ssm_beta", "in_proj_b", tiled),
    linear("ssm_conv1d", "conv1d", tiled_convolution),
    linear("ssm_a", "A_log", tiled_decay, full_name=True),
    linear("ssm_dt.bias", "dt_bias", tiled, full_name=True),
    linear("ssm_out", "out_proj", tiled_columns),
)

SECTIONS = Hparam(
    "rope.dimension_sections",
    lambda config: rope.sections(config) or [11, 11, 10, 0],
    inverse=rope.sections.inverse,
)

QWEN35 = replace(
    QWEN3NEXT,
    name="qwen35",
    title="Qwen 3.5, 3.6",
    hf_classes=("Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"),
    defaults={**LINEAR_DEFAULTS, "num_key_value_heads": 4},
    hparams=(*replaced(HPARAMS, BLOCK_COUNT), *LINEAR_HPARAMS, SECTIONS),
    weights=(*BLOCK_WEIGHTS, *feed_forward(_MLP, in_layers=layers_with_mtp), *TILED_WEIGHTS),
    # the vision encoder is another file's
    ignore=("model.visual.*",),
    export=ExportSpec(
        "qwen3_5_text", config={"rope_scaling.mrope_interleaved": True}, rename=mtp_names
    ),
)
