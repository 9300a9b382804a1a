"""Qwen 1.5 and 2 with experts, of which one is shared and gated.

Source: llama.cpp conversion/qwen.py Qwen2MoeModel; transformers qwen2_moe.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    decoder,
    experts,
    gate_half,
    keep,
    up_half,
    without,
)
from ggufkit.mapping.spec import Hparam, Weight

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
MOE_WEIGHTS = (
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
    title="Qwen 1.5 and 2 with experts",
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
        *MOE_WEIGHTS,
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
