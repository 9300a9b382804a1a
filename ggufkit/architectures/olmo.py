"""OLMo 1, 2 and 3, OLMoE: norms without weights, norms after, norms of queries and keys."""

from __future__ import annotations

from dataclasses import replace

from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    QK_NORMS,
    decoder,
    experts,
    n_heads,
    permute,
    sliding_layers,
    without,
)
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import Architecture, Config, Hparam, Weight


def windowed(config: Config) -> list[bool] | None:
    """Return which layers attend to a window only: all but every fourth."""
    if config.get("sliding_window") is None:
        return None
    listed = sliding_layers(config)
    return listed or [bool((i + 1) % 4) for i in range(config["num_hidden_layers"])]


_DEFAULTS = {
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "num_key_value_heads": n_heads,
}

OLMO = Architecture(
    name="olmo",
    hf_classes=("OlmoForCausalLM", "OLMoForCausalLM"),
    tokenizer="gpt2",
    defaults=_DEFAULTS,
    hparams=(
        *HPARAMS,
        Hparam("attention.layer_norm_epsilon", lambda _: 1e-5),
        Hparam("attention.clamp_kqv", "clip_qkv"),
    ),
    weights=without(decoder(q=permute, k=permute), "output_norm", "attn_norm", "ffn_norm"),
)

_LAYER = "model.layers.{i}"

OLMO2 = replace(
    OLMO,
    name="olmo2",
    hf_classes=("Olmo2ForCausalLM",),
    defaults={**_DEFAULTS, "rms_norm_eps": 1e-5},
    hparams=(
        *HPARAMS,
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", windowed),
    ),
    weights=(
        *without(decoder(), "attn_norm", "ffn_norm"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm"),
        *QK_NORMS,
    ),
)

OLMO3 = replace(
    OLMO2,
    hf_classes=("Olmo3ForCausalLM",),
    defaults={
        **OLMO2.defaults,
        "rope_theta": 500000.0,
        "sliding_window": 4096,
        # layers with a window use the same base, without the scaling of the others
        "rope_local_base_freq": lambda config: full(config)["rope_theta"],
    },
)

OLMOE = replace(
    OLMO,
    name="olmoe",
    hf_classes=("OlmoeForCausalLM",),
    defaults={
        **_DEFAULTS,
        "max_position_embeddings": 4096,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "rms_norm_eps": 1e-5,
    },
    hparams=(*HPARAMS, Hparam("attention.layer_norm_rms_epsilon", lambda _: 1e-5)),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        Weight("blk.{i}.ffn_gate_inp", f"{_LAYER}.mlp.gate"),
        *experts(f"{_LAYER}.mlp.experts", EXPERT_PARTS),
    ),
)
