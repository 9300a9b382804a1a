"""llama, and what has its shape: Mistral, SmolLM, Yi, TinyLlama; Arcee; Mixtral, with experts."""

from dataclasses import replace

from ggufkit.mapping.blocks import (
    BARE,
    FFN,
    HPARAMS,
    POOLING,
    WRAPPED,
    decoder,
    experts,
    head_dim,
    n_heads,
    permute,
    without,
)
from ggufkit.mapping.computed import ComputedTensor, llama3_rope_factors
from ggufkit.mapping.spec import Architecture, Hparam, Weight

LLAMA = Architecture(
    name="llama",
    hf_classes=("LlamaForCausalLM", "LLaMAForCausalLM", "MistralForCausalLM", "LlamaModel"),
    tokenizer="llama",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "head_dim": head_dim,
    },
    hparams=(
        *HPARAMS,
        Hparam("vocab_size", "vocab_size"),
        Hparam("rope.dimension_count", head_dim),
    ),
    weights=decoder(q=permute, k=permute),
    rename=(*WRAPPED, *BARE),
    generated=(ComputedTensor("rope_freqs.weight", llama3_rope_factors),),
)

_MOE = "model.layers.{i}.block_sparse_moe"

MIXTRAL = replace(
    LLAMA,
    hf_classes=("MixtralForCausalLM",),
    # unlike llama's, Mixtral's config knows no head_dim unless config.json gives one
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    },
    weights=(
        *without(LLAMA.weights, *FFN),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.gate"),
        *experts(f"{_MOE}.experts", (("w1", "gate"), ("w2", "down"), ("w3", "up"))),
    ),
)

SMOLLM3 = replace(
    LLAMA,
    name="smollm3",
    hf_classes=("SmolLM3ForCausalLM",),
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2_000_000.0,
        "num_key_value_heads": 4,
    },
)

ERNIE4_5 = replace(
    SMOLLM3,
    name="ernie4_5",
    hf_classes=("Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"),
    tokenizer="ernie",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
    hparams=HPARAMS,
    weights=decoder(),
    generated=(),
)

HUNYUAN = replace(
    ERNIE4_5,
    name="hunyuan-dense",
    hf_classes=("HunYuanDenseV1ForCausalLM",),
    tokenizer="hunyuan",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    weights=(
        *decoder(),
        Weight("blk.{i}.attn_q_norm", "model.layers.{i}.self_attn.query_layernorm"),
        Weight("blk.{i}.attn_k_norm", "model.layers.{i}.self_attn.key_layernorm"),
    ),
)

# no gates
ARCEE = replace(
    LLAMA,
    name="arcee",
    hf_classes=("ArceeForCausalLM",),
    defaults={**LLAMA.defaults, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    hparams=(*LLAMA.hparams, *POOLING),
    weights=without(LLAMA.weights, "ffn_gate"),
)
