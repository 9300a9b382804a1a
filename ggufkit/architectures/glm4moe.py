"""GLM-4.5 to 4.7, Solar Open: experts behind dense blocks, and a multi-token prediction block.

Source: llama.cpp conversion/glm.py Glm4MoeModel, SolarOpenModel;
transformers glm4_moe, solar_open.
"""

from dataclasses import replace

from ggufkit.architectures.glm4 import GLM4
from ggufkit.architectures.glm4 import NEXTN_WEIGHTS as NEXTN_WEIGHTS
from ggufkit.architectures.glm4 import mtp_layers as mtp_layers
from ggufkit.architectures.glm4 import n_layers_with_mtp as n_layers_with_mtp
from ggufkit.mapping.blocks import (
    FFN,
    QK_NORMS,
    WRAPPED,
    decoder,
    moe_feed_forward,
    replaced,
    without,
)
from ggufkit.mapping.model_header import HAS_BIASES, HasHparam, HasTensor
from ggufkit.mapping.spec import Always, ExportSpec, Hparam, Weight

_LAYER = "model.layers.{i}"


GLM4MOE = replace(
    GLM4,
    name="glm4moe",
    title="GLM-4.5 to 4.7",
    hf_classes=("Glm4MoeForCausalLM",),
    tokenizer="glm4_moe",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "num_key_value_heads": 8,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 1,
    },
    hparams=(
        *replaced(GLM4.hparams, Hparam("block_count", n_layers_with_mtp)),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "n_shared_experts"),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("expert_gating_func", Always(2)),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", "norm_topk_prob"),
        Hparam("nextn_predict_layers", "num_nextn_predict_layers"),
    ),
    weights=(
        *without(decoder(), "ffn_norm", *FFN),
        *(replace(w, optional=True) for w in QK_NORMS),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        *moe_feed_forward(
            router_bias="gate.e_score_correction_bias",
            shared="shared_experts",
            dense="first_k_dense_replace",
        ),
        *NEXTN_WEIGHTS,
    ),
    export=ExportSpec(
        "glm4_moe",
        config={"attention_bias": HAS_BIASES, "use_qk_norm": HasTensor("attn_q_norm.weight")},
    ),
)

# without dense blocks, QK-norm and MTP; the converter has no key for its dense blocks
SOLAR_OPEN = replace(
    GLM4MOE,
    title="Solar Open",
    hf_classes=("SolarOpenForCausalLM",),
    tokenizer="solar_open",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "moe_intermediate_size": 1280,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": True,
    },
    weights=(
        *without(decoder(), "ffn_norm", *FFN),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        *moe_feed_forward(router_bias="gate.e_score_correction_bias", shared="shared_experts"),
    ),
    export=ExportSpec("solar_open"),
)

GLM4V_MOE = replace(
    GLM4MOE,
    title="GLM-4.5V, GLM-4.6V, its text part",
    hf_classes=("Glm4vMoeForConditionalGeneration",),
    defaults={k: v for k, v in GLM4MOE.defaults.items() if k != "num_nextn_predict_layers"},
    rename=WRAPPED,
    ignore=("*visual.*",),
    export=ExportSpec(
        "glm4v_moe_text",
        nested="glm4v_moe",
        config={"attention_bias": HAS_BIASES, "use_qk_norm": HasTensor("attn_q_norm.weight")},
        rename=((r"^model\.", "model.language_model."),),
        matches=HasHparam("rope.dimension_sections"),
    ),
)
