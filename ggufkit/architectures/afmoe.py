"""Trinity (AfMoE): gated attention, QK-norm, four norms a block, windows in 3 of 4 layers, experts.

Source: llama.cpp conversion/afmoe.py AfmoeModel; transformers afmoe.
"""

from ggufkit.architectures.llama import LLAMA
from ggufkit.mapping.blocks import FFN, QK_NORMS, decoder, moe_feed_forward, n_heads, without
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam, Weight

_LAYER = "model.layers.{i}"
_PARTS = (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "down"))

AFMOE = Architecture(
    name="afmoe",
    title="Trinity (AfMoE)",
    hf_classes=("AfmoeForCausalLM",),
    tokenizer="llama",
    defaults={
        "max_position_embeddings": 16384,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "head_dim": 128,
        "num_experts": 64,
        "num_experts_per_tok": 6,
        "num_shared_experts": 2,
        "moe_intermediate_size": 1408,
        "num_dense_layers": 1,
        "route_scale": 1.0,
        "sliding_window": 1024,
    },
    hparams=(
        *LLAMA.hparams,
        Hparam("expert_shared_count", "num_shared_experts"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("leading_dense_block_count", "num_dense_layers"),
        Hparam("expert_weights_norm", "route_norm"),
        Hparam("expert_weights_scale", "route_scale"),
        Hparam("attention.sliding_window", "sliding_window"),
    ),
    weights=(
        *without(decoder(), *FFN, "ffn_norm"),
        *QK_NORMS,
        Weight("blk.{i}.attn_gate", f"{_LAYER}.self_attn.gate_proj"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_mlp_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_mlp_layernorm"),
        *moe_feed_forward(
            router="router.gate",
            parts=_PARTS,
            router_bias="expert_bias",
            shared="shared_experts",
            dense="num_dense_layers",
        ),
    ),
    export=ExportSpec("afmoe", config={"attention_bias": HAS_BIASES, "mup_enabled": True}),
)
