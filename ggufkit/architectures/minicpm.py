"""MiniCPM 1, 2 and 4, a llama with scales; MiniCPM 3, with latent attention."""

from __future__ import annotations

from ggufkit.architectures.deepseek import key_length_mla
from ggufkit.mapping.blocks import HPARAMS, decoder, n_heads, permute, without
from ggufkit.mapping.computed import ComputedTensor, longrope_factors
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, Hparam, Weight


def embedding_scale(config: Config) -> float:
    """Return what embeddings are multiplied with."""
    return float(config["scale_emb"])


def residual_scale(config: Config) -> float:
    """Return what a block's output is multiplied with before it is added."""
    return float(config["scale_depth"] / config["num_hidden_layers"] ** 0.5)


def logit_scale(config: Config) -> float:
    """Return what the output is divided by."""
    return float(config["hidden_size"] / config["dim_model_base"])


LONGROPE_FACTORS = (
    ComputedTensor("rope_factors_long.weight", longrope_factors("long")),
    ComputedTensor("rope_factors_short.weight", longrope_factors("short")),
)

MINICPM = Architecture(
    name="minicpm",
    hf_classes=("MiniCPMForCausalLM",),
    tokenizer="spm",
    defaults={
        "num_key_value_heads": n_heads,
        "scale_emb": 1,
        "scale_depth": 1,
        "dim_model_base": 1,
    },
    hparams=(
        *HPARAMS,
        Hparam("embedding_scale", embedding_scale),
        Hparam("residual_scale", residual_scale),
        Hparam("logit_scale", logit_scale),
    ),
    weights=decoder(q=permute, k=permute),
    generated=LONGROPE_FACTORS,
)

_ATTENTION = "model.layers.{i}.self_attn"

MINICPM3 = Architecture(
    name="minicpm3",
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
    generated=LONGROPE_FACTORS,
)
