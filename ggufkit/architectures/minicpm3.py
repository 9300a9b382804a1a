"""MiniCPM 3: multi-head latent attention.

Source: llama.cpp conversion/minicpm.py MiniCPM3Model; the modeling code in the models'
repositories.
"""

from ggufkit.architectures.deepseek2 import key_length_mla
from ggufkit.mapping.blocks import decoder, without
from ggufkit.mapping.computed import LONGROPE_FACTORS
from ggufkit.mapping.spec import FILE_TYPE, Architecture, ExportSpec, Hparam, Weight

_ATTENTION = "model.layers.{i}.self_attn"

MINICPM3 = Architecture(
    name="minicpm3",
    title="MiniCPM 3",
    hf_classes=("MiniCPM3ForCausalLM",),
    tokenizer="spm",
    defaults={
        "max_position_embeddings": 32768,
        "num_key_value_heads": 40,
        "rms_norm_eps": 1e-5,
        "q_lora_rank": 768,
        "kv_lora_rank": 256,
        "qk_nope_head_dim": 64,
        "qk_rope_head_dim": 32,
    },
    hparams=(
        FILE_TYPE,
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        Hparam("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.q_lora_rank", "q_lora_rank"),
        Hparam("attention.kv_lora_rank", "kv_lora_rank"),
        Hparam("attention.key_length", key_length_mla),
        Hparam("rope.dimension_count", "qk_rope_head_dim"),
    ),
    weights=(
        *without(decoder(), "attn_q", "attn_k", "attn_v"),
        Weight("blk.{i}.attn_q_a", f"{_ATTENTION}.q_a_proj"),
        Weight("blk.{i}.attn_q_a_norm", f"{_ATTENTION}.q_a_layernorm"),
        Weight("blk.{i}.attn_q_b", f"{_ATTENTION}.q_b_proj"),
        Weight("blk.{i}.attn_kv_a_mqa", f"{_ATTENTION}.kv_a_proj_with_mqa"),
        Weight("blk.{i}.attn_kv_a_norm", f"{_ATTENTION}.kv_a_layernorm"),
        Weight("blk.{i}.attn_kv_b", f"{_ATTENTION}.kv_b_proj"),
    ),
    computed=LONGROPE_FACTORS,
    export=ExportSpec("minicpm3"),
)
