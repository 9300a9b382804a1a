"""Phi 3.5 with experts.

Source: llama.cpp conversion/phi.py PhiMoeModel; transformers phimoe.
"""

from dataclasses import replace

from ggufkit.architectures.phi3 import PHI3
from ggufkit.mapping.blocks import FFN, MIXTRAL_PARTS, decoder, moe_feed_forward, without
from ggufkit.mapping.model_header import HAS_BIASES, HasTensor, HparamValue
from ggufkit.mapping.spec import ExportSpec, Hparam

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
    weights=(*without(decoder(), *FFN), *moe_feed_forward(_MOE, parts=MIXTRAL_PARTS)),
    export=ExportSpec(
        "phimoe",
        hf_class="PhimoeForCausalLM",
        config={
            "attention_bias": HAS_BIASES,
            "lm_head_bias": HasTensor("output.bias"),
            # llama.cpp has one factor for both
            "rope_scaling.long_mscale": HparamValue("rope.scaling.attn_factor"),
            "rope_scaling.short_mscale": HparamValue("rope.scaling.attn_factor"),
            "rope_scaling.original_max_position_embeddings": HparamValue(
                "rope.scaling.original_context_length"
            ),
        },
    ),
)
