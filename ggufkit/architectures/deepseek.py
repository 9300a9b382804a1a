"""DeepSeek V1 and DeepSeek MoE: a llama with experts, of which some are shared.

Source: llama.cpp conversion/deepseek.py DeepseekModel; the modeling code in the models'
repositories.
"""

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    decoder,
    head_dim,
    moe_feed_forward,
    permute,
    without,
)
from ggufkit.mapping.spec import Always, Architecture, ExportSpec, Hparam

DEEPSEEK = Architecture(
    name="deepseek",
    title="DeepSeek V1, DeepSeek MoE",
    hf_classes=("DeepseekForCausalLM",),
    tokenizer="qwen",
    defaults={"first_k_dense_replace": 0},
    hparams=(
        *HPARAMS,
        Hparam("rope.dimension_count", head_dim),
        Hparam("rope.scaling.type", rope.unscaled),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_weights_scale", Always(1.0)),
        Hparam("expert_shared_count", "n_shared_experts"),
    ),
    weights=(
        *without(decoder(q=permute, k=permute), *FFN),
        *moe_feed_forward(shared="shared_experts", dense="first_k_dense_replace"),
    ),
    export=ExportSpec("deepseek"),
)
