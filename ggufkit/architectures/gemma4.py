"""Gemma 4, its text model: two lengths of heads, values that may be the keys, experts.

Source: llama.cpp conversion/gemma.py Gemma4Model, Gemma4UnifiedModel; transformers gemma4.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ggufkit.architectures.gemma3 import GEMMA3, RENAME, known_tokens
from ggufkit.architectures.gemma3n import GEMMA_WEIGHTS, IGNORE, own_keys, per_layer_weights
from ggufkit.errors import ConversionError
from ggufkit.mapping.blocks import changed, decoder, only, replaced, sliding_layers, stacked_experts
from ggufkit.mapping.computed import MAX_HEAD_DIM
from ggufkit.mapping.model_header import (
    ConfigValues,
    HasHparam,
    HasTensor,
    ModelHeader,
    Not,
    RowCount,
    inverse_of,
)
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import (
    Architecture,
    ComputedTensor,
    Config,
    ExportSpec,
    Hparam,
    NonZero,
    Weight,
    block_count,
)
from ggufkit.mapping.transforms import IDENTITY, Floats

_SUPPRESS = "tokenizer.ggml.suppress_tokens"

# What a dimension's frequency is divided by if it is not to be rotated.
_UNROTATED = 1e30


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: a window but for every sixth block and the last."""
    n = config["num_hidden_layers"]
    full_attention = {*range(5, n, 6), n - 1}
    return [f"{'full' if i in full_attention else 'sliding'}_attention" for i in range(n)]


def _of_full_layers(config: Config, key: str) -> Any:
    """Return a value of blocks without a window that transformers' configs list by block."""
    types = config["layer_types"]
    listed = {int(i): values for i, values in (config.get("per_layer_config") or {}).items()}
    return next(
        (
            values[key]
            for i, values in listed.items()
            if i < len(types) and types[i] == "full_attention" and key in values
        ),
        None,
    )


@inverse_of("global_head_dim")
def full_head_dim(config: Config) -> int:
    """Return the length of a head in blocks without a window."""
    given = config.get("global_head_dim")
    listed = _of_full_layers(config, "head_dim") if given is None else given
    return 512 if listed is None else int(listed)


def _full_kv_heads(config: Config) -> int | None:
    given = config.get("num_global_key_value_heads")
    if config.get("per_layer_config") is not None:
        listed: int | None = _of_full_layers(config, "num_key_value_heads")
        return listed if given is None else given
    return given if config.get("attention_k_eq_v") else None


def _kv_heads_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    if not isinstance(value, list):
        return {"num_key_value_heads": value}
    windows = header.hparams["attention.sliding_window_pattern"]
    of_type = dict(zip(windows, value, strict=True))
    return {
        "num_key_value_heads": of_type.get(True, value[0]),
        "num_global_key_value_heads": of_type.get(False),
    }


@inverse_of(_kv_heads_to_config)
def kv_heads(config: Config) -> int | list[int]:
    """Return the number of key and value heads; by block where blocks without a window differ."""
    n, n_full = int(config["num_key_value_heads"]), _full_kv_heads(config)
    windows = sliding_layers(config) or []
    return n if n_full is None else [n if window else n_full for window in windows]


def _widths_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    widths = value if isinstance(value, list) else [value]
    return {"intermediate_size": widths[0], "use_double_wide_mlp": isinstance(value, list)}


@inverse_of(_widths_to_config)
def widths(config: Config) -> int | list[int]:
    """Return the width of feed-forward parts: twice as wide where blocks use others' keys."""
    width = int(config["intermediate_size"])
    if not config.get("use_double_wide_mlp"):
        return width
    own = own_keys(config)
    return [width if i in own else 2 * width for i in range(block_count(config))]


def rotated_with_window(config: Config) -> int:
    """Return the rotated dimensions of blocks with a window."""
    share = (config.get("rope_parameters") or {}).get("partial_rotary_factor", 1.0)
    return int(config["head_dim"] * share)


def rope_factors(config: Config) -> Floats:
    """Compute the frequency factors of blocks without a window, (head_dim / 2,).

    Raises
    ------
    ConversionError
        Their RoPE is not "proportional", or heads are impossibly long.
    """
    params, head_dim = full(config), full_head_dim(config)
    if params.get("rope_type") != "proportional":
        raise ConversionError(
            f"config.json: the rope_type of full attention is {params.get('rope_type')!r}; "
            "gemma4 has 'proportional'"
        )
    if not 0 < head_dim <= MAX_HEAD_DIM:
        raise ConversionError(f"config.json: heads of {head_dim} dimensions can't be rotated")
    factors = np.full(head_dim // 2, _UNROTATED, np.float32)
    factors[: int(head_dim * params["partial_rotary_factor"] / 2)] = 1
    return factors


def _with_values(config: Config) -> range | list[int]:
    """Return the blocks with values of their own."""
    own = own_keys(config)
    if not config.get("attention_k_eq_v"):
        return own
    return [i for i in own if config["layer_types"][i] == "sliding_attention"]


def _has_keys_as_values(header: ModelHeader) -> bool:
    """Whether some block has keys and no values."""
    kinds = [{n for n in header.shapes if n.endswith(f".attn_{kind}.weight")} for kind in "kv"]
    return len(kinds[0]) > len(kinds[1])


def _with_embeddings(config: Config) -> range:
    """Return the blocks, if they have embeddings of their own."""
    return range(block_count(config) if config["hidden_size_per_layer_input"] else 0)


def _with_experts(config: Config) -> range:
    """Return the blocks, if they have experts."""
    return range(block_count(config) if config.get("enable_moe_block") else 0)


_LAYER = "model.layers.{i}"
_EXPERTS: dict[str, Any] = {"in_layers": _with_experts}

_MOE = (
    *stacked_experts(
        f"{_LAYER}.experts",
        (("gate_up", "gate_up_proj", IDENTITY), ("down", "down_proj", IDENTITY)),
        **_EXPERTS,
    ),
    Weight("blk.{i}.ffn_gate_inp", f"{_LAYER}.router.proj", **_EXPERTS),
    *(
        Weight(name, f"{_LAYER}.{source}", full_name=True, **_EXPERTS)
        for name, source in (
            ("blk.{i}.ffn_gate_inp.scale", "router.scale"),
            ("blk.{i}.ffn_down_exps.scale", "router.per_expert_scale"),
        )
    ),
    *(
        Weight(f"blk.{{i}}.{name}", f"{_LAYER}.{source}", **_EXPERTS)
        for name, source in (
            ("pre_ffw_norm_2", "pre_feedforward_layernorm_2"),
            ("post_ffw_norm_1", "post_feedforward_layernorm_1"),
            ("post_ffw_norm_2", "post_feedforward_layernorm_2"),
        )
    ),
)

# Values of blocks without a window are their keys. Blocks that use the keys of others need none
# of their own; published checkpoints have them nevertheless.
_ATTENTION = changed(GEMMA_WEIGHTS, "attn_v", in_layers=_with_values)

_NOT_TOLD: dict[str, Any] = {
    "rope_parameters.full_attention.rope_type": "proportional",
    "rope_parameters.sliding_attention.rope_type": "default",
    "attention_k_eq_v": _has_keys_as_values,
    "enable_moe_block": HasTensor("ffn_gate_inp.weight"),
    "vocab_size_per_layer_input": RowCount("per_layer_token_embd.weight"),
}

GEMMA4 = Architecture(
    name="gemma4",
    title="Gemma 4, its text part",
    hf_classes=("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM"),
    tokenizer="gemma4",
    defaults={
        "max_position_embeddings": 131072,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": 0.25,
                "rope_theta": 1_000_000.0,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
        "sliding_window": 512,
        "vocab_size": 262144,
        "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 0,
        "layer_types": default_layer_types,
        "num_experts": None,
        "top_k_experts": None,
    },
    hparams=(
        *replaced(
            GEMMA3.hparams,
            Hparam("feed_forward_length", widths),
            Hparam("attention.head_count_kv", kv_heads),
            Hparam("attention.key_length", full_head_dim),
            Hparam("attention.value_length", full_head_dim),
        ),
        Hparam("attention.shared_kv_layers", "num_kv_shared_layers"),
        Hparam("embedding_length_per_layer_input", "hidden_size_per_layer_input"),
        Hparam("attention.sliding_window_pattern", sliding_layers),
        Hparam("attention.key_length_swa", "head_dim"),
        Hparam("attention.value_length_swa", "head_dim"),
        Hparam(
            "expert_feed_forward_length",
            NonZero("moe_intermediate_size"),
        ),
        Hparam("rope.dimension_count", full_head_dim),
        Hparam("rope.dimension_count_swa", rotated_with_window),
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens", known_tokens),
        *only(decoder(), "output"),
        Weight("per_layer_token_embd", "model.embed_tokens_per_layer", in_layers=_with_embeddings),
        *_ATTENTION,
        *per_layer_weights(in_layers=_with_embeddings),
        *_MOE,
        Weight(
            "blk.{i}.layer_output_scale.weight",
            f"{_LAYER}.layer_scalar",
            full_name=True,
            optional=True,
        ),
    ),
    rename=RENAME,
    ignore=IGNORE,
    computed=(ComputedTensor("rope_freqs.weight", rope_factors),),
    export=ExportSpec(
        "gemma4_text",
        hf_class="Gemma4ForCausalLM",
        config=_NOT_TOLD,
        matches=Not(HasHparam(_SUPPRESS)),
    ),
)

# without embeddings by block; some tokens are never to be generated
GEMMA4_UNIFIED = replace(
    GEMMA4,
    title="Gemma 4 without encoders, its text part",
    hf_classes=("Gemma4UnifiedForConditionalGeneration",),
    defaults={
        **GEMMA4.defaults,
        "max_position_embeddings": 262144,
        "sliding_window": 1024,
        "hidden_size_per_layer_input": 0,
    },
    hparams=(*GEMMA4.hparams, Hparam(_SUPPRESS, NonZero("suppress_tokens"))),
    ignore=(*IGNORE, "*vision_embedder.*"),
    export=ExportSpec(
        "gemma4_unified_text",
        nested="gemma4_unified",
        config={key: value for key, value in _NOT_TOLD.items() if "per_layer" not in key},
        rename=((r"^model\.", "model.language_model."),),
        matches=HasHparam(_SUPPRESS),
    ),
)
