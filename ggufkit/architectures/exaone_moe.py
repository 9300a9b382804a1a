"""K-EXAONE: EXAONE 4's windows, experts behind dense first blocks, and multi-token prediction.

Source: llama.cpp conversion/exaone.py ExaoneMoEModel; transformers exaone_moe.
"""

from dataclasses import replace

from ggufkit.architectures.exaone4 import EXAONE4, MTP_WEIGHTS, mtp_names, own_mtp_names
from ggufkit.architectures.glm4moe import n_layers_with_mtp
from ggufkit.mapping.blocks import (
    FFN,
    QK_NORMS,
    decoder,
    moe_feed_forward,
    replaced,
    without,
)
from ggufkit.mapping.spec import Always, Config, ExportSpec, Hparam


def shared_length(config: Config) -> int:
    """Return the length of all shared experts of a block."""
    return int(config["moe_intermediate_size"] * config["num_shared_experts"])


EXAONE_MOE = replace(
    EXAONE4,
    name="exaone-moe",
    title="K-EXAONE",
    hf_classes=("ExaoneMoEForCausalLM", "ExaoneMoeForCausalLM"),
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": 32,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "num_shared_experts": 1,
        "moe_intermediate_size": 1024,
        "routed_scaling_factor": 2.5,
        "norm_topk_prob": True,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "num_nextn_predict_layers": 0,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
    hparams=(
        *replaced(EXAONE4.hparams, Hparam("block_count", n_layers_with_mtp)),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "num_shared_experts"),
        Hparam("expert_shared_feed_forward_length", shared_length),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", "norm_topk_prob"),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("nextn_predict_layers", "num_nextn_predict_layers"),
        Hparam("rope.scaling.type", Always("none")),
    ),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        *moe_feed_forward(
            router_bias="e_score_correction_bias",
            shared="shared_experts",
            dense="first_k_dense_replace",
        ),
        *MTP_WEIGHTS,
    ),
    rename=mtp_names,
    export=ExportSpec("exaone_moe", rename=own_mtp_names),
)
