"""Command R7B and Command A: Command R with sliding-window attention.

Source: llama.cpp conversion/command_r.py Cohere2Model; transformers cohere2.
"""

from dataclasses import replace

from ggufkit.architectures.command_r import COHERE
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, decoder, default_head_dim, without
from ggufkit.mapping.config_inverse import RotaryShare, default_head_dim_of
from ggufkit.mapping.model_header import inverse_of
from ggufkit.mapping.spec import Config, ExportSpec, Hparam


@inverse_of(RotaryShare("rotary_pct", default_head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(config["rotary_pct"] * default_head_dim(config))


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
        "head_dim": default_head_dim,
    },
    hparams=(
        *HPARAMS,
        Hparam("logit_scale", "logit_scale"),
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("rope.scaling.type", rope.unscaled),
    ),
    weights=without(decoder(), "output", "ffn_norm"),
    export=ExportSpec("cohere2"),
)
