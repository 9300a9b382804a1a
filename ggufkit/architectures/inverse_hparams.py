"""Where hparams go that a function of the config computes: one line per function.

To a config key, whose dots are levels; or to what a function of the value says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np

from ggufkit.architectures import (
    bert,
    cohere2,
    deepseek2,
    exaone4,
    falcon,
    falcon_h1,
    gemma3,
    gemma3n,
    glm4,
    glm4moe,
    gptneox,
    granite,
    jamba,
    lfm2,
    llama4,
    mamba,
    mamba2,
    minicpm,
    mpt,
    nemotron,
    nomic_bert,
    olmo2,
    phi2,
    phi3,
    qwen3next,
    qwen3vl,
)
from ggufkit.architectures.inverse_rope import (
    attention_factor,
    default_head_dim,
    freq_base,
    freq_base_swa,
    head,
    log_multiplier,
    mscales,
    scaling,
    sections,
    share,
)
from ggufkit.mapping import blocks, rope, spec
from ggufkit.mapping.config_inverse import (
    ConfigInverse,
    ModelHeader,
    shortest_decimal,
    shortest_preimage,
)
from ggufkit.mapping.spec import Config


def _own_head_dim(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    """Say head_dim only where it is another than transformers computes."""
    return {} if value == default_head_dim(known) else {"head_dim": value}


def _layers(true: str, false: str) -> ConfigInverse:
    def back(value: Any, _: ModelHeader) -> Mapping[str, Any]:
        return {"layer_types": [true if item else false for item in value]}

    return back


def _unless(value: Any, path: str) -> ConfigInverse:
    """Return the way back of a value that one stands for none of."""
    return lambda given, _: {} if given == value else {path: shortest_decimal(given)}


def _less(key: str, hparam: str) -> ConfigInverse:
    """Return the way back of a sum to the one part, the other being an hparam."""
    return lambda value, known: {key: value - int(known.hparams.get(hparam) or 0)}


_GATING_NAMES = {1: "softmax", 2: "sigmoid", 4: "sqrtsoftplus"}
_POOLING_NAMES = {1: "mean", 2: "cls", 3: "lasttoken"}


def _gating(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    return {"scoring_func": _GATING_NAMES[value]} if value in _GATING_NAMES else {}


def _labels(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    # the keys are sorted as text on the way there
    keys = sorted(str(i) for i in range(len(value)))
    return {"id2label": dict(sorted(zip(keys, value, strict=True), key=lambda kv: int(kv[0])))}


def _linear_layers(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    n_mtp_layers = int(known.hparams.get("nextn_predict_layers") or 1)
    kinds = ["linear_attention" if linear else "full_attention" for linear in value]
    return {"layer_types": kinds[: len(kinds) - n_mtp_layers]}


def _sparsity(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    shares = []
    for scale in value:
        if np.isinf(scale):
            shares.append(0.0 if scale < 0 else 1.0)
            continue
        share = NormalDist().cdf(scale)
        shares.append(
            shortest_preimage(round(share, 7), lambda s: gemma3n.sparsity_scales(_only(s))[0])
        )
    return {"activation_sparsity_pattern": shares}


def _only(share: float) -> Config:
    return {"activation_sparsity_pattern": [share]}


def _alibi(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    if not value:
        return {"attn_config.alibi": False}
    most = int(value) if value == int(value) else shortest_decimal(value)
    return {"attn_config.alibi": True, "attn_config.alibi_bias_max": most}


def _scale_depth(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    root = int(known.hparams["block_count"]) ** 0.5
    return {"scale_depth": shortest_preimage(value * root, lambda depth: depth / root)}


def _base_width(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    width = int(known.hparams["embedding_length"])
    base = shortest_preimage(width / value, lambda base: width / base) if value else 1
    return {"dim_model_base": int(base) if base == int(base) else base}


def _unused_positions(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    padding = known.ids.get("pad", 1)
    return {"max_position_embeddings": value + padding + 1, "pad_token_id": padding}


def _kv_by_layer(attention: str, other: str) -> ConfigInverse:
    def back(value: Any, _: ModelHeader) -> Mapping[str, Any]:
        types = [attention if heads else other for heads in value]
        return {"num_key_value_heads": max(value, default=0), "layer_types": types}

    return back


def _kv_by_period(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    first, period = jamba.first_and_period(
        [i for i, heads in enumerate(value) if heads], len(value)
    )
    return {
        "num_key_value_heads": max(value, default=0),
        "attn_layer_offset": first,
        "attn_layer_period": period,
    }


def _by_block(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    widths = value if isinstance(value, list) else [value]
    same = len(set(widths)) == 1
    return {"intermediate_size": widths[0] if same else widths}


def _trained(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    positions = {trained: given for given, trained in nomic_bert.TRAINED.items()}
    return {"n_positions": positions[value]} if value in positions else {}


def _full(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    n = int(known.hparams["block_count"])
    return {} if value else {"layer_types": ["full_attention"] * n}


def _deepstack(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    return {"vision_config.deepstack_visual_indexes": list(range(value))} if value else {}


def _value_head(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    return {"linear_value_head_dim": value // int(known.hparams["ssm.time_step_rank"])}


def _inner(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    width = int(known.hparams["embedding_length"])
    expand = {"expand": value // width} if width and value % width == 0 else {}
    return {"intermediate_size": value, **expand}


def _expand(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    width = int(known.hparams["embedding_length"])
    return {"mamba_expand": value // width} if width else {}


def _head_of_inner(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    return {"mamba_d_head": int(known.hparams["ssm.inner_size"]) // value} if value else {}


def _heads_of_inner(value: Any, known: ModelHeader) -> Mapping[str, Any]:
    inner = int(known.hparams["ssm.inner_size"])
    return {"num_heads": value, "head_dim": inner // value if value else 0}


def _plain_width(value: Any, _: ModelHeader) -> Mapping[str, Any]:
    return {"intermediate_size": value, "block_auto_adjust_ff_dim": False}


BY_FUNCTION: Mapping[Callable[..., Any], ConfigInverse] = {
    spec.expert_count: "num_experts",
    blocks.head_dim: _own_head_dim,
    blocks.rope_dim: share("partial_rotary_factor", default_head_dim),
    blocks.not_causal: "is_causal",
    blocks.gating_function: _gating,
    blocks.classifier_pooling: lambda v, _: {"classifier_pooling": _POOLING_NAMES.get(v)},
    blocks.pooling_type: lambda v, _: {"pooling_mode": _POOLING_NAMES.get(v)},
    blocks.unscaled: scaling,
    blocks.sliding_layers: _layers("sliding_attention", "full_attention"),
    rope.scaling_type: scaling,
    rope.scaling_factor: "rope_scaling.factor",
    rope.sections: sections,
    rope.freq_base: freq_base,
    rope.freq_base_swa: freq_base_swa,
    bert.labels: _labels,
    bert.used_context: _unused_positions,
    cohere2.rotated: share("rotary_pct", default_head_dim),
    deepseek2.key_length_mla: _less("qk_nope_head_dim", "rope.dimension_count"),
    deepseek2.log_multiplier: log_multiplier,
    exaone4.window: "sliding_window",
    exaone4.windowed: _layers("sliding_attention", "full_attention"),
    falcon.n_heads: "num_attention_heads",
    falcon.n_heads_kv: "num_kv_heads",
    falcon_h1.heads: _head_of_inner,
    gemma3.final_softcap: "final_logit_softcapping",
    gemma3.sliding_window: "sliding_window",
    gemma3n.per_block: _by_block,
    gemma3n.sparsity_scales: _sparsity,
    glm4moe.all_blocks: _less("num_hidden_layers", "nextn_predict_layers"),
    glm4.rotated: share("partial_rotary_factor", head),
    granite.heads_kv: _kv_by_layer("attention", "mamba"),
    granite.inner_size: _expand,
    jamba.heads_kv: _kv_by_period,
    jamba.inner_size: _expand,
    jamba.time_step_rank: "mamba_dt_rank",
    lfm2.feed_forward: _plain_width,
    lfm2.heads_kv: _kv_by_layer("full_attention", "conv"),
    llama4.without_sliding_window: _full,
    mamba2.heads: _heads_of_inner,
    mamba.inner_size: _inner,
    mamba2.n_groups: "n_groups",
    mamba.time_step_rank: "time_step_rank",
    mamba.width: "hidden_size",
    minicpm.embedding_scale: "scale_emb",
    minicpm.logit_scale: _base_width,
    minicpm.residual_scale: _scale_depth,
    mpt.alibi_bias: _alibi,
    mpt.clamp: "attn_config.clip_qkv",
    mpt.kv_heads: "attn_config.kv_n_heads",
    nemotron.rotated: share("partial_rotary_factor", default_head_dim),
    nemotron.scaling_factor: "rope_scaling.factor",
    nemotron.scaling_type: scaling,
    gptneox.n_heads: "n_head",
    gptneox.rotated: share("rotary_pct", default_head_dim),
    nomic_bert.trained_context: _trained,
    olmo2.windowed: _layers("sliding_attention", "full_attention"),
    phi3.attention_factor: attention_factor,
    phi3.original_context: "original_max_position_embeddings",
    phi2.rotated: share("partial_rotary_factor", default_head_dim),
    qwen3next.inner_size: _value_head,
    qwen3next.is_linear: _linear_layers,
    qwen3next.n_mtp_layers: "mtp_num_hidden_layers",
    qwen3next.rotated: share("partial_rotary_factor", head),
    qwen3vl.n_deepstack: _deepstack,
}

# The same for functions that are made where they are needed: what made them, and the hparam's key.
BY_MAKER: Mapping[tuple[str, str], ConfigInverse] = {
    ("yarn", "rope.scaling.original_context_length"): (
        "rope_scaling.original_max_position_embeddings"
    ),
    ("yarn", "rope.scaling.yarn_ext_factor"): "rope_scaling.extrapolation_factor",
    ("yarn", "rope.scaling.yarn_attn_factor"): "rope_scaling.attention_factor",
    ("yarn", "rope.scaling.yarn_beta_fast"): "rope_scaling.beta_fast",
    ("yarn", "rope.scaling.yarn_beta_slow"): "rope_scaling.beta_slow",
    ("of_ministral", "rope.scaling.yarn_log_multiplier"): mscales,
    ("of_ministral", "attention.temperature_scale"): "rope_scaling.llama_4_scaling_beta",
    ("given", "attention.scale"): "attention_multiplier",
    ("given", "embedding_scale"): "embedding_multiplier",
    ("given", "residual_scale"): "residual_multiplier",
    ("given", "logit_scale"): "logits_scaling",
    ("given", "expert_shared_feed_forward_length"): "shared_intermediate_size",
    ("reads", "ssm.conv_kernel"): "conv_kernel",
    ("reads", "ssm.state_size"): "state_size",
    ("reads", "attention.layer_norm_rms_epsilon"): "layer_norm_epsilon",
    ("<lambda>", "expert_weights_norm"): "norm_topk_prob",
    ("<lambda>", "attention.sliding_window"): _unless(0, "sliding_window"),
    ("<lambda>", "rope.dimension_sections"): sections,
    ("<lambda>", "nextn_predict_layers"): "num_nextn_predict_layers",
    ("<lambda>", "block_count"): _less("num_hidden_layers", "nextn_predict_layers"),
}
