"""Laguna: gated attention, more heads in blocks with a window, and experts behind dense blocks.

Source: llama.cpp conversion/laguna.py LagunaModel; transformers laguna.
"""

from typing import Any

from ggufkit.errors import ConversionError
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    QK_NORMS,
    decoder,
    moe_feed_forward,
    replaced,
    without,
)
from ggufkit.mapping.config_inverse import RotaryShare, head_dim_of
from ggufkit.mapping.model_header import Choose, ConfigValues, HasHparam, ModelHeader, inverse_of
from ggufkit.mapping.spec import (
    Always,
    Architecture,
    Config,
    ExportSpec,
    Hparam,
    NonZero,
    Weight,
    block_count,
)

_FULL, _SLIDING = "full_attention", "sliding_attention"
_ROPE: dict[str, dict[str, Any]] = {
    _FULL: {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": 0.5},
    _SLIDING: {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
}


def _heads_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    return {"num_attention_heads": value[0], "num_attention_heads_per_layer": value}


@inverse_of(_heads_to_config)
def heads(config: Config) -> list[int]:
    """Return the number of heads by block.

    Raises
    ------
    ConversionError
        They are not listed for every block.
    """
    n = block_count(config)
    listed = config.get("num_attention_heads_per_layer") or [config["num_attention_heads"]] * n
    if len(listed) != n:
        raise ConversionError(
            f"config.json: num_attention_heads_per_layer lists {len(listed)} blocks of {n}"
        )
    return list(listed)


def _dense_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    n = int(header.hparams["block_count"])
    return {"mlp_layer_types": ["dense"] * value + ["sparse"] * (n - value)}


@inverse_of(_dense_to_config)
def n_dense(config: Config) -> int:
    """Return the number of blocks before the first with experts."""
    kinds = config["mlp_layer_types"]
    return next((i for i, kind in enumerate(kinds) if kind != "dense"), len(kinds))


def _dense(config: Config) -> range:
    return range(n_dense(config))


def _sparse(config: Config) -> range:
    return range(n_dense(config), block_count(config))


def default_mlp_types(config: Config) -> list[str]:
    """Return transformers' default: only the first block has no experts."""
    return ["dense"] + ["sparse"] * (config["num_hidden_layers"] - 1)


def _rotated(config: Config, kind: str) -> int | None:
    params = rope.rope_parameters(config)[kind]
    share = params.get("partial_rotary_factor")
    return int(config["head_dim"] * (1.0 if share is None else share)) if params else None


@inverse_of(RotaryShare(f"rope_parameters.{_FULL}.partial_rotary_factor", head_dim_of))
def rope_dim(config: Config) -> int | None:
    """Return the rotated dimensions of a head in blocks without a window."""
    return _rotated(config, _FULL)


@inverse_of(RotaryShare(f"rope_parameters.{_SLIDING}.partial_rotary_factor", head_dim_of))
def rope_dim_swa(config: Config) -> int | None:
    """Return the rotated dimensions of a head in blocks with a window."""
    return _rotated(config, _SLIDING)


def _layer_types(header: ModelHeader) -> list[str]:
    """Return what llama.cpp assumes: full attention in every fourth block, from the first on."""
    n, windows = int(header.hparams["block_count"]), "rope.dimension_count_swa" in header.hparams
    return [_SLIDING if windows and i % 4 else _FULL for i in range(n)]


def _gating(header: ModelHeader) -> bool | str:
    """Return what is gated: heads, or each of their values."""
    rows = header.shapes["blk.0.attn_gate.weight"][0]
    return True if rows == header.hparams["attention.head_count"][0] else "per-element"


LAGUNA = Architecture(
    name="laguna",
    title="Laguna",
    hf_classes=("LagunaForCausalLM",),
    tokenizer="laguna",
    defaults={
        "vocab_size": 100352,
        "max_position_embeddings": 131072,
        "num_attention_heads": 48,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-6,
        "rope_parameters": _ROPE,
        "sliding_window": 512,
        "intermediate_size": 8192,
        "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512,
        "num_experts": 256,
        "num_experts_per_tok": 8,
        "moe_routed_scaling_factor": 1.0,
        "mlp_layer_types": default_mlp_types,
    },
    hparams=(
        *replaced(HPARAMS, Hparam("attention.head_count", heads)),
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.sliding_window", NonZero("sliding_window")),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
        Hparam("expert_weights_norm", Always(True)),
        Hparam("expert_weights_scale", "moe_routed_scaling_factor"),
        Hparam("expert_gating_func", Always(2)),
        Hparam("leading_dense_block_count", n_dense),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("rope.dimension_count_swa", rope_dim_swa),
    ),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        Weight("blk.{i}.attn_gate", "model.layers.{i}.self_attn.g_proj"),
        *moe_feed_forward(
            parts=(("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "down")),
            router_bias="experts.e_score_correction_bias",
            shared="shared_expert",
            dense=_dense,
            sparse=_sparse,
        ),
    ),
    export=ExportSpec(
        "laguna",
        config={
            f"rope_parameters.{_FULL}.rope_type": "default",
            f"rope_parameters.{_SLIDING}.rope_type": Choose(
                HasHparam("rope.dimension_count_swa"), "default"
            ),
            "layer_types": _layer_types,
            "gating": _gating,
        },
    ),
)
