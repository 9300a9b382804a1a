"""Phi 3.5 with experts.

Source: llama.cpp conversion/phi.py PhiMoeModel; transformers phimoe.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.phi3 import PHI3
from ggufkit.mapping.blocks import FFN, decoder, experts, without
from ggufkit.mapping.spec import Hparam, Weight

_LAYER = "model.layers.{i}"
_MOE = f"{_LAYER}.block_sparse_moe"

PHIMOE = replace(
    PHI3,
    name="phimoe",
    title="Phi 3.5 with experts",
    hf_classes=("PhiMoEForCausalLM", "PhimoeForCausalLM"),
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_local_experts": 16,
        "num_experts_per_tok": 2,
    },
    hparams=(
        *PHI3.hparams,
        Hparam("expert_used_count", ("num_experts_per_tok", "num_experts_per_token")),
        Hparam("expert_count", ("num_local_experts", "num_experts")),
    ),
    weights=(
        *without(decoder(), *FFN),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.gate"),
        *experts(f"{_MOE}.experts", (("w1", "gate"), ("w2", "down"), ("w3", "up"))),
    ),
)
