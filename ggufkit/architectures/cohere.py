"""Command R, R+, R7B and Aya: attention and feed-forward in parallel, scaled logits, one norm."""

from __future__ import annotations

from dataclasses import replace

from ggufkit.mapping.blocks import (
    HPARAMS,
    QK_NORMS,
    decoder,
    n_heads,
    per_head,
    replaced,
    unscaled,
    without,
)
from ggufkit.mapping.spec import Architecture, Config, Hparam


def rotated(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(config["rotary_pct"] * per_head(config))


_CONTEXT = Hparam("context_length", ("model_max_length", "max_position_embeddings"))

COHERE = Architecture(
    name="command-r",
    hf_classes=("CohereForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "rope_theta": 500000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(
        # max_position_embeddings of 8192 is less than what the model was trained on
        *replaced(HPARAMS, _CONTEXT),
        Hparam("logit_scale", "logit_scale"),
        Hparam("rope.scaling.type", unscaled),
    ),
    weights=(
        *without(decoder(), "output", "ffn_norm"),
        *(replace(w, optional=True) for w in QK_NORMS),
    ),
)

COHERE2 = replace(
    COHERE,
    name="cohere2",
    hf_classes=("Cohere2ForCausalLM",),
    defaults={
        **COHERE.defaults,
        "rope_theta": 10000.0,
        "sliding_window": 4096,
        "rotary_pct": 1.0,
        "head_dim": per_head,
    },
    hparams=(
        *HPARAMS,
        Hparam("logit_scale", "logit_scale"),
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("rope.dimension_count", rotated),
        Hparam("rope.scaling.type", unscaled),
    ),
    weights=without(decoder(), "output", "ffn_norm"),
)
