"""Muse Glimmer, its text model: gated attention, and queries scaled by a constant norm.

Source: llama.cpp conversion/muse_glimmer.py MuseGlimmerModel; transformers muse_glimmer.
"""

import numpy as np

from ggufkit.errors import ConversionError
from ggufkit.mapping.blocks import (
    HPARAMS,
    WRAPPED,
    changed,
    decoder,
    permute,
    sliding_layers,
    without,
)
from ggufkit.mapping.computed import MAX_HEAD_DIM
from ggufkit.mapping.model_header import FirstValue
from ggufkit.mapping.spec import Architecture, ComputedTensor, Config, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import IDENTITY, AddOne, Floats


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: a window but for every fourth block, counted from the last."""
    n = config["num_hidden_layers"]
    return ["sliding_attention" if (n - 1 - i) % 4 else "full_attention" for i in range(n)]


def key_norm(config: Config) -> Floats:
    """Return the norm of keys, which changes nothing.

    Raises
    ------
    ConversionError
        Heads are impossibly long.
    """
    head_dim = int(config["head_dim"])
    if not 0 < head_dim <= MAX_HEAD_DIM:
        raise ConversionError(f"config.json: heads of {head_dim} dimensions have no norm")
    return np.ones(head_dim, np.float32)


def query_norm(config: Config) -> Floats:
    """Return the norm of queries, which is the factor of their products with keys."""
    return key_norm(config) * np.float32(config["qk_scale_factor"])


_LAYER = "model.layers.{i}"

MUSE_GLIMMER = Architecture(
    name="muse-glimmer",
    title="Muse Glimmer, its text part",
    hf_classes=("MuseGlimmerForConditionalGeneration",),
    tokenizer="muse_glimmer",
    defaults={
        "max_position_embeddings": 131072,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "sliding_window": 2048,
        "layer_types": default_layer_types,
        "final_logit_softcapping": 20.0,
        "qk_scale_factor": 3.87,
        "output_multiplier": 0.19611613513818404,
    },
    hparams=(
        *HPARAMS,
        Hparam("final_logit_softcapping", "final_logit_softcapping"),
        Hparam("logit_scale", "output_multiplier"),
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", sliding_layers),
    ),
    weights=(
        *changed(
            without(decoder(q=permute, k=permute, norm=AddOne()), "ffn_norm"),
            "output_norm",
            transform=IDENTITY,
        ),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm", AddOne()),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_feedforward_layernorm", AddOne()),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm", AddOne()),
        Weight("blk.{i}.attn_gate", f"{_LAYER}.self_attn.gate_proj"),
    ),
    rename=WRAPPED,
    ignore=("*vision_tower.*", "*vision_adapter.*", "*vision_projection.*"),
    computed=(
        ComputedTensor("blk.{i}.attn_q_norm.weight", query_norm, before="blk.{i}.attn_q.weight"),
        ComputedTensor("blk.{i}.attn_k_norm.weight", key_norm, before="blk.{i}.attn_q.weight"),
    ),
    export=ExportSpec(
        "muse_glimmer_text",
        nested="muse_glimmer",
        config={"qk_scale_factor": FirstValue("blk.0.attn_q_norm.weight")},
        rename=((r"^model\.", "model.language_model."),),
    ),
)
