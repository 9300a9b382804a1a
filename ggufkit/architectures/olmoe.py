"""OLMoE: experts and QK-norm.

Source: llama.cpp conversion/olmo.py OlmoeModel; transformers olmoe.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.olmo import DEFAULTS, OLMO
from ggufkit.mapping.blocks import EXPERT_PARTS, FFN, HPARAMS, QK_NORMS, decoder, experts, without
from ggufkit.mapping.spec import Hparam, Weight

_LAYER = "model.layers.{i}"

OLMOE = replace(
    OLMO,
    name="olmoe",
    title="OLMoE",
    hf_classes=("OlmoeForCausalLM",),
    defaults={
        **DEFAULTS,
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
