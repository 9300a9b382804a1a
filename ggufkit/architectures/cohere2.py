"""Command R7B and Command A: Command R with sliding-window attention.

Source: llama.cpp conversion/command_r.py Cohere2Model; transformers cohere2.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.command_r import COHERE
from ggufkit.mapping.blocks import HPARAMS, decoder, per_head, unscaled, without
from ggufkit.mapping.spec import Config, Hparam


def rotated(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(config["rotary_pct"] * per_head(config))


COHERE2 = replace(
    COHERE,
    name="cohere2",
    title="Command R7B, Command A",
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
