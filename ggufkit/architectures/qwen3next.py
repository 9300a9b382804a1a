"""Qwen3-Next: linear attention in three of four blocks, and multi-token prediction (MTP).

The last block predicts the token after the next; checkpoints keep it apart, under ``mtp.``.

Source: llama.cpp conversion/qwen.py Qwen3NextModel; transformers qwen3_next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ggufkit.architectures.qwen2moe import FUSED_EXPERTS, MOE_HPARAMS
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    QK_NORMS,
    WRAPPED,
    decoder,
    experts,
    only,
    plus_one,
    replaced,
)
from ggufkit.mapping.row_transforms import UnfuseGroups
from ggufkit.mapping.spec import Architecture, Config, Context, Hparam, Renames, Weight
from ggufkit.mapping.transforms import NegativeExp, Squeeze, Transform


def n_mtp_layers(config: Config) -> int:
    """Return the blocks that look ahead."""
    return int(config.get("mtp_num_hidden_layers") or 1)


def all_blocks(config: Config) -> range:
    """Return all blocks."""
    return range(config["num_hidden_layers"] + n_mtp_layers(config))


def is_linear(config: Config) -> list[bool]:
    """Return which blocks have linear attention."""
    listed = [kind == "linear_attention" for kind in config["layer_types"]]
    return listed + [False] * n_mtp_layers(config)


def linear_blocks(config: Config) -> list[int]:
    """Return the blocks with linear attention."""
    return [i for i, linear in enumerate(is_linear(config)) if linear]


def softmax_blocks(config: Config) -> list[int]:
    """Return the other blocks."""
    return [i for i, linear in enumerate(is_linear(config)) if not linear]


def ahead(config: Config) -> range:
    """Return the first of the blocks that look ahead, which has what joins it to the others."""
    return range(config["num_hidden_layers"], config["num_hidden_layers"] + 1)


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: linear attention but for every fourth block."""
    interval = config.get("full_attention_interval") or 4
    return [
        "full_attention" if (i + 1) % interval == 0 else "linear_attention"
        for i in range(config["num_hidden_layers"])
    ]


def rename(config: Config) -> Renames:
    """Give the blocks that look ahead the numbers after the others."""
    n = config["num_hidden_layers"]
    return (
        *WRAPPED,
        (r"^model\.mtp\.", "mtp."),
        *((rf"^mtp\.layers\.{i}\.", f"model.layers.{n + i}.") for i in range(n_mtp_layers(config))),
        (r"^mtp\.", f"model.layers.{n}.mtp."),
    )


def inner_size(config: Config) -> int:
    """Return the width of linear attention's values."""
    return int(config["linear_value_head_dim"] * config["linear_num_value_heads"])


def rotated(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(config["head_dim"] * rope.full(config).get("partial_rotary_factor", 0.25))


def convolution(_: Context) -> Transform:
    """Return the transform of convolutions whose channels stay in order."""
    return Squeeze()


def decay(_: Context) -> Transform:
    """Return the transform of decays."""
    return NegativeExp()


def parts(*take: int) -> Any:
    """Return the function that takes some of queries, keys, values and gates, fused by group."""

    def transform(context: Context) -> UnfuseGroups:
        config = context.config
        keys, values = config["linear_key_head_dim"], config["linear_value_head_dim"]
        values *= config["linear_num_value_heads"] // config["linear_num_key_heads"]
        return UnfuseGroups((keys, keys, values, values), take)

    return transform


_LAYER = "model.layers.{i}"
_LINEAR = f"{_LAYER}.linear_attn"
_MLP = f"{_LAYER}.mlp"


def linear(name: str, source: str, transform: Any = None, *, exact: bool = False) -> Weight:
    """Return a weight of linear attention."""
    options = {} if transform is None else {"transform": transform}
    return Weight(
        f"blk.{{i}}.{name}", f"{_LINEAR}.{source}", blocks=linear_blocks, exact=exact, **options
    )


BLOCK_WEIGHTS = (
    *only(decoder(norm=plus_one), "token_embd", "output_norm", "output"),
    *(replace(w, blocks=all_blocks) for w in only(decoder(norm=plus_one), "attn_norm")),
    Weight(
        "blk.{i}.post_attention_norm",
        f"{_LAYER}.post_attention_layernorm",
        plus_one,
        blocks=all_blocks,
    ),
    *(
        replace(w, blocks=softmax_blocks)
        for w in only(decoder(), "attn_q", "attn_k", "attn_v", "attn_output")
    ),
    *(replace(w, transform=plus_one, blocks=softmax_blocks) for w in QK_NORMS),
    linear("ssm_norm", "norm"),
    Weight("blk.{i}.nextn.eh_proj", f"{_LAYER}.mtp.fc", blocks=ahead),
    *(
        Weight(f"blk.{{i}}.nextn.{name}", f"{_LAYER}.mtp.{source}", plus_one, blocks=ahead)
        for name, source in (
            ("enorm", "pre_fc_norm_embedding"),
            ("hnorm", "pre_fc_norm_hidden"),
            ("shared_head_norm", "norm"),
        )
    ),
)

EXPERT_WEIGHTS = (
    Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate", blocks=all_blocks),
    *experts(f"{_MLP}.experts", EXPERT_PARTS, blocks=all_blocks),
    *FUSED_EXPERTS,
    *(
        Weight(f"blk.{{i}}.ffn_{p}_shexp", f"{_MLP}.shared_expert.{p}_proj", blocks=all_blocks)
        for p in ("gate", "up", "down")
    ),
    Weight("blk.{i}.ffn_gate_inp_shexp", f"{_MLP}.shared_expert_gate", blocks=all_blocks),
)

LINEAR_HPARAMS = (
    Hparam("nextn_predict_layers", n_mtp_layers),
    Hparam("ssm.conv_kernel", "linear_conv_kernel_dim"),
    Hparam("ssm.state_size", "linear_key_head_dim"),
    Hparam("ssm.group_count", "linear_num_key_heads"),
    Hparam("ssm.time_step_rank", "linear_num_value_heads"),
    Hparam("ssm.inner_size", inner_size),
    Hparam("attention.recurrent_layers", is_linear),
    Hparam("full_attention_interval", "full_attention_interval"),
    Hparam("rope.dimension_count", rotated),
)

BLOCK_COUNT = Hparam("block_count", lambda config: len(all_blocks(config)))

LINEAR_DEFAULTS = {
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.25,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "full_attention_interval": 4,
    "layer_types": default_layer_types,
}

MOE_DEFAULTS = {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512}

QWEN3NEXT = Architecture(
    name="qwen3next",
    title="Qwen3-Next",
    hf_classes=("Qwen3NextForCausalLM",),
    tokenizer="gpt2",
    defaults={
        **LINEAR_DEFAULTS,
        **MOE_DEFAULTS,
        "intermediate_size": 5632,
        "num_experts": 512,
        "num_experts_per_tok": 10,
    },
    hparams=(*replaced(MOE_HPARAMS, BLOCK_COUNT), *LINEAR_HPARAMS),
    weights=(
        *BLOCK_WEIGHTS,
        *EXPERT_WEIGHTS,
        linear("attn_qkv", "in_proj_qkvz", parts(0, 1, 2)),
        linear("attn_gate", "in_proj_qkvz", parts(3)),
        linear("ssm_ba", "in_proj_ba"),
        linear("ssm_conv1d", "conv1d", convolution),
        linear("ssm_a", "A_log", decay, exact=True),
        linear("ssm_dt.bias", "dt_bias", exact=True),
        linear("ssm_out", "out_proj"),
    ),
    rename=rename,
)
