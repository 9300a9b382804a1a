"""Phi 3, 3.5 and 4: fused projections, longrope.

Source: llama.cpp conversion/phi.py Phi3MiniModel; transformers phi3.
"""

import math
from typing import Any

import numpy as np

from ggufkit.architectures.phi2 import rope_dim
from ggufkit.errors import ConversionError
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import n_heads
from ggufkit.mapping.computed import LONGROPE_FACTORS
from ggufkit.mapping.config_inverse import Unless
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, ExportSpec, Hparam, Weight


@inverse_of("original_max_position_embeddings")
def original_context(config: Config) -> int:
    """Return the context that the model was first trained on."""
    return int(rope.full(config)["original_max_position_embeddings"])


def _factor_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    """Return the scaling that has this factor for the two contexts."""
    scaling = {
        "long_factor": [1.0],
        "original_max_position_embeddings": header.hparams["rope.scaling.original_context_length"],
    }
    for kind in ("longrope", "yarn"):
        trial = {
            "max_position_embeddings": header.hparams["context_length"],
            "rope_scaling": {**scaling, "rope_type": kind},
        }
        if np.float32(attention_factor(trial)) == np.float32(value):
            return {"rope_scaling.rope_type": kind}
    return {}


@inverse_of(_factor_to_config)
def attention_factor(config: Config) -> float | None:
    """Return what longrope multiplies attention with, for the context to be longer."""
    if not rope.full(config).get("long_factor"):
        return None
    original = original_context(config)
    scale = config["max_position_embeddings"] / original
    kind = str(rope.full(config).get("rope_type", "")).lower()
    if kind in rope.LONGROPE:
        return math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    if kind == "yarn":
        return 0.1 * math.log(scale) + 1.0 if scale > 1 else 1.0
    raise ConversionError(f"config.json: no rope scaling {kind!r} with long and short factors")


_LAYER = "model.layers.{i}"

PHI3 = Architecture(
    name="phi3",
    title="Phi 3, 3.5, 4",
    hf_classes=("Phi3ForCausalLM",),
    tokenizer="phi3",
    defaults={
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "num_key_value_heads": n_heads,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    },
    leading_hparams=(Hparam("rope.scaling.attn_factor", attention_factor),),
    hparams=(
        Hparam("context_length", ("n_positions", "max_position_embeddings")),
        Hparam("rope.scaling.original_context_length", original_context),
        Hparam("embedding_length", ("hidden_size", "n_embd")),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("attention.head_count", ("num_attention_heads", "n_head")),
        Hparam("attention.head_count_kv", ("num_key_value_heads", "n_head_kv")),
        Hparam("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("rope.freq_base", rope.freq_base),
        FILE_TYPE,
        # 0 tells Phi 4 from the rest
        Hparam(
            "attention.sliding_window",
            lambda config: config.get("sliding_window") or 0,
            inverse=Unless(0, "sliding_window"),
        ),
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens"),
        Weight("output_norm", "model.norm"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.input_layernorm"),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.self_attn.qkv_proj"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.self_attn.o_proj"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.gate_up_proj"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.down_proj"),
    ),
    computed=LONGROPE_FACTORS,
    export=ExportSpec("phi3"),
)
