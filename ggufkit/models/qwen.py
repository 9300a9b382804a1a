"""Qwen2 and 2.5 (biased queries, keys and values) and Qwen3 (normed queries and keys)."""

from dataclasses import replace

from ggufkit.models.base import Architecture, Config, Hparam, Weight
from ggufkit.models.common import BARE, HPARAMS, WRAPPED, decoder, n_heads

_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}


def pooling_type(config: Config) -> int | None:
    """Return how token embeddings become one, where sentence-transformers files say so."""
    return _POOLING.get(str(config.get("pooling_mode")))


QWEN2 = Architecture(
    name="qwen2",
    hf_classes=("Qwen2ForCausalLM", "Qwen2Model"),
    tokenizer="qwen",
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(*HPARAMS, Hparam("pooling_type", pooling_type)),
    weights=decoder(),
    rename=(*WRAPPED, *BARE),
)

QWEN3 = replace(
    QWEN2,
    name="qwen3",
    hf_classes=("Qwen3ForCausalLM", "Qwen3Model"),
    defaults={**QWEN2.defaults, "head_dim": 128},
    weights=(
        *decoder(),
        Weight("blk.{i}.attn_q_norm", "model.layers.{i}.self_attn.q_norm"),
        Weight("blk.{i}.attn_k_norm", "model.layers.{i}.self_attn.k_norm"),
    ),
)
