"""Cohere's North: Command R7B's parallel blocks and windows, with experts.

Source: llama.cpp conversion/command_r.py Cohere2MoeModel; transformers cohere2_moe.
"""

from dataclasses import replace

from ggufkit.architectures.cohere2 import COHERE2
from ggufkit.architectures.glm4moe import NEXTN_WEIGHTS, n_layers_with_mtp
from ggufkit.errors import ConversionError
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    FFN,
    HPARAMS,
    decoder,
    moe_feed_forward,
    n_heads,
    replaced,
    sliding_layers,
    without,
)
from ggufkit.mapping.config_inverse import LayerTypes
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Config, ExportSpec, Hparam, NonZero, block_count


def _dense_to_config(value: int, header: ModelHeader) -> ConfigValues:
    n = int(header.hparams["block_count"]) - int(header.hparams.get("nextn_predict_layers", 0))
    return {"mlp_layer_types": ["dense"] * value + ["sparse"] * (n - value)}


@inverse_of(_dense_to_config)
def n_dense(config: Config) -> int:
    """Return the number of the first blocks, which have no experts."""
    types = config.get("mlp_layer_types")
    if types is None:
        return int(config.get("first_k_dense_replace") or 0)
    return next((i for i, kind in enumerate(types) if kind != "dense"), len(types))


@inverse_of(LayerTypes("sliding_attention", "full_attention"))
def _windowed(config: Config) -> list[bool]:
    """Return which blocks attend to a window only."""
    listed = sliding_layers(config)
    if listed is not None:
        return listed
    n, first = block_count(config), n_dense(config)
    dense, others = (int(config[f"{part}sliding_window_pattern"]) for part in ("prefix_dense_", ""))
    return [
        *((i + 1) % dense != 0 for i in range(first)),
        *((i + 1) % others != 0 for i in range(n - first)),
    ]


def _dense(config: Config) -> range:
    return range(n_dense(config))


def _sparse(config: Config) -> range:
    return range(n_dense(config), block_count(config))


def shared_length(config: Config) -> int | None:
    """Return the length of all shared experts of a block.

    Raises
    ------
    ConversionError
        They are not averaged, as llama.cpp does.
    """
    n = int(config["num_shared_experts"])
    how = config.get("shared_expert_combination_strategy", "average")
    if n and how != "average":
        raise ConversionError(
            f"config.json: shared_expert_combination_strategy is {how!r}; llama.cpp averages only"
        )
    return n * int(config["intermediate_size"]) or None


COHERE2MOE = replace(
    COHERE2,
    name="cohere2moe",
    title="Cohere North",
    hf_classes=("Cohere2MoeForCausalLM",),
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "logit_scale": 0.0625,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "head_dim": 128,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
        "prefix_dense_sliding_window_pattern": 1,
        "prefix_dense_intermediate_size": None,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "num_shared_experts": 0,
        "expert_selection_fn": "softmax",
        "norm_topk_prob": True,
    },
    hparams=(
        *replaced(HPARAMS, Hparam("block_count", n_layers_with_mtp)),
        Hparam("logit_scale", "logit_scale"),
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", _windowed),
        Hparam("vocab_size", "vocab_size"),
        Hparam("expert_feed_forward_length", "intermediate_size"),
        Hparam("leading_dense_block_count", n_dense),
        Hparam("expert_weights_norm", "norm_topk_prob"),
        Hparam("expert_shared_count", NonZero("num_shared_experts")),
        Hparam("expert_shared_feed_forward_length", shared_length),
        Hparam("nextn_predict_layers", NonZero("num_nextn_predict_layers")),
        Hparam("rope.dimension_count", "head_dim"),
        Hparam("rope.scaling.type", rope.unscaled),
    ),
    weights=(
        *without(decoder(), "ffn_norm", *FFN),
        *moe_feed_forward(
            shared="shared_experts", dense=_dense, sparse=_sparse, optional=("shared",)
        ),
        *NEXTN_WEIGHTS,
    ),
    export=ExportSpec("cohere2_moe"),
)
