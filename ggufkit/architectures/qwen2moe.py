"""Qwen 1.5 and 2 with experts, of which one is shared and gated.

Source: llama.cpp conversion/qwen.py Qwen2MoeModel; transformers qwen2_moe.
"""

from dataclasses import replace

from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.mapping.blocks import (
    FFN,
    GATE_HALF,
    HPARAMS,
    UP_HALF,
    decoder,
    feed_forward,
    moe_feed_forward,
    stacked_experts,
    without,
)
from ggufkit.mapping.spec import ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import IDENTITY

_MLP = "model.layers.{i}.mlp"

# Experts as transformers keeps them in memory: stacked already, gates and ups in one tensor.
FUSED_EXPERTS = stacked_experts(
    f"{_MLP}.experts",
    (
        ("down", "down_proj", IDENTITY),
        ("gate", "gate_up_proj", GATE_HALF),
        ("up", "gate_up_proj", UP_HALF),
    ),
    optional=True,
)

# llama.cpp has no place for the blocks without experts that transformers can mix in.
MOE_WEIGHTS = (*without(decoder(), *FFN), *moe_feed_forward(), *FUSED_EXPERTS)

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
        *feed_forward(f"{_MLP}.shared_expert", "_shexp"),
        Weight("blk.{i}.ffn_gate_inp_shexp", f"{_MLP}.shared_expert_gate"),
    ),
    export=ExportSpec("qwen2_moe"),
)
