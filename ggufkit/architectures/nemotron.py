"""Nemotron and Minitron: LayerNorm stored as its difference from one, squared ReLU.

Source: llama.cpp conversion/nemotron.py NemotronModel; transformers nemotron.
"""

from dataclasses import replace

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, decoder, default_head_dim, n_heads, without
from ggufkit.mapping.config_inverse import RotaryShare, default_head_dim_of
from ggufkit.mapping.model_header import BIASES, inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam
from ggufkit.mapping.transforms import IDENTITY, AddOne


@inverse_of(RotaryShare("partial_rotary_factor", default_head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    part = rope.full(config)["partial_rotary_factor"]
    return int(part * config["hidden_size"]) // int(config["num_attention_heads"])


@inverse_of("rope_scaling.factor")
def scaling_factor(config: Config) -> float | None:
    """Return the factor of linear scaling, if there is one."""
    return config.get("factor") or rope.full(config).get("factor")


@inverse_of(rope.scaling_to_config)
def scaling_type(config: Config) -> str:
    """Return whether rope is scaled."""
    return "none" if scaling_factor(config) is None else "linear"


NEMOTRON = Architecture(
    name="nemotron",
    title="Nemotron 4, Minitron",
    hf_classes=("NemotronForCausalLM",),
    tokenizer="nemotron",
    defaults={
        "max_position_embeddings": 4096,
        "norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "head_dim": default_head_dim,
    },
    hparams=(
        *HPARAMS,
        Hparam("vocab_size", "vocab_size"),
        Hparam(
            "attention.layer_norm_epsilon",
            ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
        ),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("rope.scaling.type", scaling_type),
        Hparam("rope.scaling.factor", scaling_factor),
    ),
    weights=tuple(replace(w, bias=IDENTITY) for w in without(decoder(norm=AddOne()), "ffn_gate")),
    export=ExportSpec("nemotron", config=BIASES),
)
