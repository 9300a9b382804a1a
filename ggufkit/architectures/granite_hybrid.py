"""Granite 4: Mamba 2 in most blocks, attention in the others or in all; with or without experts.

Its one class becomes what llama.cpp has three names for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ggufkit.architectures.granite import GRANITE, GRANITEMOE
from ggufkit.architectures.mamba import column, decay_column, grouped_by, keep, squeeze
from ggufkit.mapping.blocks import FFN, gate_half, only, replaced, up_half, without
from ggufkit.mapping.spec import Config, Hparam, Weight, block_count

_ATTENTION_TYPES = ("attention", "full_attention")


def attention_blocks(config: Config) -> list[int]:
    """Return the blocks with attention."""
    return [i for i, kind in enumerate(config["layer_types"]) if kind in _ATTENTION_TYPES]


def mamba_blocks(config: Config) -> list[int]:
    """Return the blocks with a state space."""
    return sorted(set(range(block_count(config))) - set(attention_blocks(config)))


def heads_kv(config: Config) -> list[int]:
    """Return the heads of keys and values by block; a state space has none."""
    attention, n_heads = set(attention_blocks(config)), int(config["num_key_value_heads"])
    return [n_heads if i in attention else 0 for i in range(block_count(config))]


def inner_size(config: Config) -> int:
    """Return the width inside of a state space."""
    return int(config["mamba_expand"]) * int(config["hidden_size"])


def is_hybrid(config: Config) -> bool:
    """Return whether there is a state space, of any config.json."""
    types = config.get("layer_types")
    return not isinstance(types, list) or any(kind not in _ATTENTION_TYPES for kind in types)


def is_dense(config: Config) -> bool:
    """Return whether there are no experts, of any config.json."""
    return config.get("num_local_experts") == 0


_DEFAULTS = {
    "mamba_d_conv": 4,
    "mamba_d_state": 256,
    "mamba_n_groups": 1,
    "mamba_n_heads": 128,
    "mamba_expand": 2,
    "shared_intermediate_size": 1024,
}
_HPARAMS = (
    *replaced(GRANITEMOE.hparams, Hparam("attention.head_count_kv", heads_kv)),
    Hparam("ssm.conv_kernel", "mamba_d_conv"),
    Hparam("ssm.state_size", "mamba_d_state"),
    Hparam("ssm.group_count", "mamba_n_groups"),
    Hparam("ssm.inner_size", inner_size),
    Hparam("ssm.time_step_rank", "mamba_n_heads"),
    Hparam("rope.scaling.finetuned", lambda config: not is_hybrid(config)),
)
_MAMBA = "model.layers.{i}.mamba"
_SHARED = "model.layers.{i}.shared_mlp"
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")


def _in_blocks(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    """Return the weights of a model in which some blocks have attention and some Mamba."""
    weights = tuple(weights)
    return (
        *without(weights, *_ATTENTION),
        *(replace(w, blocks=attention_blocks) for w in only(weights, *_ATTENTION)),
        *(
            replace(weight, blocks=mamba_blocks)
            for weight in (
                Weight("blk.{i}.ssm_in", f"{_MAMBA}.in_proj"),
                Weight("blk.{i}.ssm_conv1d", f"{_MAMBA}.conv1d", squeeze, bias=keep),
                Weight("blk.{i}.ssm_dt.bias", f"{_MAMBA}.dt_bias", exact=True),
                Weight("blk.{i}.ssm_a", f"{_MAMBA}.A_log", decay_column, exact=True),
                Weight("blk.{i}.ssm_d", f"{_MAMBA}.D", column, exact=True),
                Weight("blk.{i}.ssm_norm", f"{_MAMBA}.norm", grouped_by("mamba_n_groups")),
                Weight("blk.{i}.ssm_out", f"{_MAMBA}.out_proj"),
            )
        ),
    )


_DENSE = (
    *without(GRANITE.weights, *FFN),
    Weight("blk.{i}.ffn_gate", f"{_SHARED}.input_linear", gate_half),
    Weight("blk.{i}.ffn_up", f"{_SHARED}.input_linear", up_half),
    Weight("blk.{i}.ffn_down", f"{_SHARED}.output_linear"),
)

GRANITEHYBRID = replace(
    GRANITEMOE,
    name="granitehybrid",
    hf_classes=("GraniteMoeHybridForCausalLM",),
    tokenizer="granite4",
    defaults={**GRANITEMOE.defaults, **_DEFAULTS},
    hparams=(*_HPARAMS, Hparam("context_length", lambda _: 2**20)),  # any, without positions
    weights=_in_blocks(GRANITEMOE.weights),
)

GRANITEHYBRID_DENSE = replace(
    GRANITEHYBRID,
    weights=_in_blocks(_DENSE),
    when=lambda config: is_hybrid(config) and is_dense(config),
)

GRANITE4 = replace(
    GRANITEHYBRID,
    name="granite",
    tokenizer="qwen",
    hparams=_HPARAMS,
    weights=_DENSE,
    when=lambda config: not is_hybrid(config) and is_dense(config),
)

GRANITE4MOE = replace(
    GRANITE4,
    name="granitemoe",
    weights=GRANITEMOE.weights,
    when=lambda config: not is_hybrid(config) and not is_dense(config),
)
