"""llama, and what has its shape: Mistral, SmolLM, Yi, TinyLlama; Mixtral, with experts."""

from dataclasses import replace

from ggufkit.models.base import Architecture, Context, Hparam, Weight
from ggufkit.models.common import BARE, HPARAMS, WRAPPED, decoder, experts, head_dim, n_heads
from ggufkit.models.generated import Generated, llama3_rope_factors
from ggufkit.models.rows import PermuteRope


def permute(context: Context) -> PermuteRope:
    """Return the row order of queries and keys."""
    return PermuteRope(head_dim(context.config))


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
    generated=(Generated("rope_freqs.weight", llama3_rope_factors),),
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
        *(w for w in LLAMA.weights if not w.name.startswith("blk.{i}.ffn_") or "norm" in w.name),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.gate"),
        *experts(f"{_MOE}.experts", (("w1", "gate"), ("w2", "down"), ("w3", "up"))),
    ),
)
