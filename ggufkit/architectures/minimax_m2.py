"""MiniMax M2: experts in every block, QK-norm over all heads at once, partial RoPE.

Source: llama.cpp conversion/minimax.py MiniMaxM2Model; transformers minimax_m2.
"""

from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    MIXTRAL_PARTS,
    QK_NORMS,
    decoder,
    moe_feed_forward,
    without,
)
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

_MOE = "model.layers.{i}.block_sparse_moe"

MINIMAX_M2 = Architecture(
    name="minimax-m2",
    title="MiniMax M2",
    hf_classes=("MiniMaxM2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 196608,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5_000_000.0,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_local_experts": 256,
        "num_experts_per_tok": 8,
    },
    hparams=(
        *HPARAMS,
        Hparam("expert_feed_forward_length", "intermediate_size"),
        Hparam("rope.dimension_count", "rotary_dim"),
    ),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        *moe_feed_forward(_MOE, parts=MIXTRAL_PARTS, router_bias="e_score_correction_bias"),
    ),
    export=ExportSpec(
        "minimax_m2",
        config={"qk_norm_type": "per_layer", "use_qk_norm": True, "use_routing_bias": True},
    ),
)
