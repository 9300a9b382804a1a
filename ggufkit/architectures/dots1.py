"""dots.llm1: QK-norm, dense first layers, then experts of which some are shared.

Source: llama.cpp conversion/dots1.py Dots1Model; transformers dots1.
"""

from ggufkit.mapping.blocks import FFN, HPARAMS, QK_NORMS, decoder, moe_feed_forward, without
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

DOTS1 = Architecture(
    name="dots1",
    title="dots.llm1",
    hf_classes=("Dots1ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": 32,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
    },
    hparams=(
        *HPARAMS,
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("expert_shared_count", "n_shared_experts"),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", "norm_topk_prob"),
    ),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        *moe_feed_forward(
            router_bias="gate.e_score_correction_bias",
            shared="shared_experts",
            dense="first_k_dense_replace",
        ),
    ),
    export=ExportSpec("dots1", config={"attention_bias": HAS_BIASES}),
)
