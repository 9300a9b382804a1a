"""MiniCPM 1, 2 and 4: a llama with scales.

Source: llama.cpp conversion/minicpm.py MiniCPMModel; the modeling code in the models'
repositories.
"""

from typing import Any

from ggufkit.mapping.blocks import HPARAMS, decoder, n_heads, permute
from ggufkit.mapping.computed import LONGROPE_FACTORS
from ggufkit.mapping.config_inverse import shortest_preimage
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam


@inverse_of("scale_emb")
def embedding_scale(config: Config) -> float:
    """Return what embeddings are multiplied with."""
    return float(config["scale_emb"])


def _scale_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    root = int(header.hparams["block_count"]) ** 0.5
    return {"scale_depth": shortest_preimage(value * root, lambda depth: depth / root)}


@inverse_of(_scale_to_config)
def residual_scale(config: Config) -> float:
    """Return what a block's output is multiplied with before it is added."""
    return float(config["scale_depth"] / config["num_hidden_layers"] ** 0.5)


def _base_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    width = int(header.hparams["embedding_length"])
    base = shortest_preimage(width / value, lambda base: width / base) if value else 1
    return {"dim_model_base": int(base) if base == int(base) else base}


@inverse_of(_base_to_config)
def logit_scale(config: Config) -> float:
    """Return what the output is divided by."""
    return float(config["hidden_size"] / config["dim_model_base"])


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
    computed=LONGROPE_FACTORS,
    export=ExportSpec("minicpm"),
)
