"""MiniCPM 1, 2 and 4: a llama with scales.

Source: llama.cpp conversion/minicpm.py MiniCPMModel; the modeling code in the models'
repositories.
"""

from __future__ import annotations

from ggufkit.mapping.blocks import HPARAMS, decoder, n_heads, permute
from ggufkit.mapping.computed import ComputedTensor, longrope_factors
from ggufkit.mapping.spec import Architecture, Config, Hparam


def embedding_scale(config: Config) -> float:
    """Return what embeddings are multiplied with."""
    return float(config["scale_emb"])


def residual_scale(config: Config) -> float:
    """Return what a block's output is multiplied with before it is added."""
    return float(config["scale_depth"] / config["num_hidden_layers"] ** 0.5)


def logit_scale(config: Config) -> float:
    """Return what the output is divided by."""
    return float(config["hidden_size"] / config["dim_model_base"])


LONGROPE_FACTORS = (
    ComputedTensor("rope_factors_long.weight", longrope_factors("long")),
    ComputedTensor("rope_factors_short.weight", longrope_factors("short")),
)

MINICPM = Architecture(
    name="minicpm",
    title="MiniCPM 1 and 2",
    hf_classes=("MiniCPMForCausalLM",),
    tokenizer="spm",
    defaults={
        "num_key_value_heads": n_heads,
        "scale_emb": 1,
        "scale_depth": 1,
        "dim_model_base": 1,
    },
    hparams=(
        *HPARAMS,
        Hparam("embedding_scale", embedding_scale),
        Hparam("residual_scale", residual_scale),
        Hparam("logit_scale", logit_scale),
    ),
    weights=decoder(q=permute, k=permute),
    generated=LONGROPE_FACTORS,
)
