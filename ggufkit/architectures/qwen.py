"""Qwen2 and 2.5 (biased queries, keys and values), Qwen3 (normed ones), and both with experts."""

from dataclasses import replace

from ggufkit.mapping.blocks import (
    BARE,
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    POOLING,
    QK_NORMS,
    WRAPPED,
    decoder,
    experts,
    gate_half,
    keep,
    n_heads,
    up_half,
    without,
)
from ggufkit.mapping.spec import Architecture, Hparam, Weight

QWEN2 = Architecture(
    name="qwen2",
    hf_classes=("Qwen2ForCausalLM", "Qwen2Model"),
    tokenizer="qwen",
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(*HPARAMS, *POOLING),
    weights=decoder(),
    rename=(*WRAPPED, *BARE),
)

QWEN3 = replace(
    QWEN2,
    name="qwen3",
    hf_classes=("Qwen3ForCausalLM", "Qwen3Model"),
    defaults={**QWEN2.defaults, "head_dim": 128},
    weights=(
        *decoder(),
        *QK_NORMS,
    ),
)


_MLP = "model.layers.{i}.mlp"

# Experts as transformers keeps them in memory: stacked already, gates and ups in one tensor.
FUSED_EXPERTS = tuple(
    Weight(
        f"blk.{{i}}.ffn_{part}_exps.weight", f"{_MLP}.experts.{source}", transform, True, exact=True
    )
    for part, source, transform in (
        ("down", "down_proj", keep),
        ("gate", "gate_up_proj", gate_half),
        ("up", "gate_up_proj", up_half),
    )
)

# llama.cpp has no place for the blocks without experts that transformers can mix in.
_MOE = (
    *without(decoder(), *FFN),
    Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate"),
    *experts(f"{_MLP}.experts", EXPERT_PARTS),
    *FUSED_EXPERTS,
)
MOE_HPARAMS = (
    *HPARAMS,
    Hparam("expert_feed_forward_length", "moe_intermediate_size"),
    Hparam("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
)

QWEN2MOE = replace(
    QWEN2,
    name="qwen2moe",
    hf_classes=("Qwen2MoeForCausalLM",),
    tokenizer="gpt2",
    defaults={
        **QWEN2.defaults,
        "num_key_value_heads": 16,
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
    },
    hparams=MOE_HPARAMS,
    weights=(
        *_MOE,
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_shexp",
                f"{_MLP}.shared_expert.{part}_proj",
            )
            for part in ("gate", "up", "down")
        ),
        Weight("blk.{i}.ffn_gate_inp_shexp", f"{_MLP}.shared_expert_gate"),
    ),
)

QWEN3MOE = replace(
    QWEN2MOE,
    name="qwen3moe",
    hf_classes=("Qwen3MoeForCausalLM",),
    defaults={
        **QWEN2.defaults,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
    weights=(
        *_MOE,
        *QK_NORMS,
    ),
)
