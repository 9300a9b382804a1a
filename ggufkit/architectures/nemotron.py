"""Nemotron and Minitron: LayerNorm stored as its difference from one, squared ReLU.

Source: llama.cpp conversion/nemotron.py NemotronModel; transformers nemotron.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, decoder, keep, n_heads, per_head, plus_one, without
from ggufkit.mapping.spec import Architecture, Config, Hparam


def rotated(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    part = rope.full(config)["partial_rotary_factor"]
    return int(part * config["hidden_size"]) // int(config["num_attention_heads"])


def scaling_factor(config: Config) -> float | None:
    """Return the factor of linear scaling, if there is one."""
    return config.get("factor") or rope.full(config).get("factor")


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
        "head_dim": per_head,
    },
    hparams=(
        *HPARAMS,
        Hparam("vocab_size", "vocab_size"),
        Hparam(
            "attention.layer_norm_epsilon",
            ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
        ),
        Hparam("rope.dimension_count", rotated),
        Hparam("rope.scaling.type", scaling_type),
        Hparam("rope.scaling.factor", scaling_factor),
    ),
    weights=tuple(replace(w, bias=keep) for w in without(decoder(norm=plus_one), "ffn_gate")),
)
