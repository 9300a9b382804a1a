"""LFM2 with experts.

Source: llama.cpp conversion/lfm2.py LFM2MoeModel; transformers lfm2_moe.
"""

from dataclasses import replace

from ggufkit.architectures.lfm2 import HEADS_KV, LFM2
from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    MIXTRAL_PARTS,
    LayersAfter,
    LeadingLayers,
    changed,
    moe_feed_forward,
    replaced,
)
from ggufkit.mapping.model_header import HasTensor
from ggufkit.mapping.spec import Always, ExportSpec, Hparam

_LAYER = "model.layers.{i}"
_MOE = f"{_LAYER}.feed_forward"

LFM2MOE = replace(
    LFM2,
    name="lfm2moe",
    title="LFM2 with experts",
    hf_classes=("Lfm2MoeForCausalLM",),
    defaults={
        "max_position_embeddings": 128000,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
        "intermediate_size": 7168,
        "moe_intermediate_size": 1792,
        "num_dense_layers": 2,
        "num_experts": 32,
        "num_experts_per_tok": 4,
    },
    hparams=(
        *replaced(HPARAMS, HEADS_KV),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("leading_dense_block_count", "num_dense_layers"),
        Hparam("expert_gating_func", Always(2)),  # sigmoid
        Hparam("vocab_size", "vocab_size"),
        Hparam("shortconv.l_cache", "conv_L_cache"),
    ),
    weights=(
        *changed(LFM2.weights, *FFN, in_layers=LeadingLayers("num_dense_layers")),
        *moe_feed_forward(
            _MOE,
            router_bias="expert_bias",
            parts=MIXTRAL_PARTS,
            sparse=LayersAfter("num_dense_layers"),
            optional=("router_bias",),
        ),
    ),
    export=ExportSpec("lfm2_moe", config={"use_expert_bias": HasTensor("exp_probs_b.bias")}),
)
