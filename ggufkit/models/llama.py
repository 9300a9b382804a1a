"""llama, and what has its shape: Mistral, SmolLM, Yi, TinyLlama."""

from ggufkit.models.base import Architecture, Context, Hparam
from ggufkit.models.common import BARE, HPARAMS, WRAPPED, decoder, head_dim, n_heads
from ggufkit.models.transforms import Generated, PermuteRope, llama3_rope_factors


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
