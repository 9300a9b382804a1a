"""llama, and what has its shape: Mistral, SmolLM, Yi, InternLM 3, IQuest Coder; Mixtral.

Source: llama.cpp conversion/llama.py LlamaModel, conversion/internlm.py InternLM3Model;
transformers llama, mistral, mixtral, iquestcoder.
"""

from dataclasses import replace

from ggufkit.mapping.blocks import (
    BARE,
    FFN,
    HPARAMS,
    MIXTRAL_PARTS,
    WRAPPED,
    decoder,
    head_dim,
    moe_feed_forward,
    n_heads,
    permute,
    without,
)
from ggufkit.mapping.computed import LLAMA3_FACTORS
from ggufkit.mapping.model_header import BIASES, HAS_BIASES
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

LLAMA = Architecture(
    name="llama",
    title="Llama, Mistral, Yi, TinyLlama, SmolLM 1 and 2",
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
    computed=LLAMA3_FACTORS,
    export=ExportSpec("llama", config=BIASES),
)

IQUEST_CODER = replace(
    LLAMA,
    title="IQuest Coder",
    hf_classes=("IQuestCoderForCausalLM",),
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    export=ExportSpec("iquestcoder", config=BIASES),
)

_MOE = "model.layers.{i}.block_sparse_moe"

MIXTRAL = replace(
    LLAMA,
    title="Mixtral",
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
    weights=(*without(LLAMA.weights, *FFN), *moe_feed_forward(_MOE, parts=MIXTRAL_PARTS)),
    export=ExportSpec("mixtral"),
)

INTERNLM3 = replace(
    LLAMA,
    title="InternLM 3",
    hf_classes=("InternLM3ForCausalLM",),
    tokenizer="internlm3",
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
    computed=(),
    export=ExportSpec("internlm3", config={"qkv_bias": HAS_BIASES}),
)
