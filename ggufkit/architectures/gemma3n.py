"""Gemma 3n, its text model: four streams of embeddings, and embeddings per layer.

Source: llama.cpp conversion/gemma.py Gemma3NModel; transformers gemma3n.
"""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np

from ggufkit.architectures.gemma3 import GEMMA3, RENAME
from ggufkit.mapping.blocks import decoder, only, replaced, sliding_layers, without
from ggufkit.mapping.config_inverse import shortest_preimage
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, RowCount, inverse_of
from ggufkit.mapping.spec import (
    Architecture,
    Config,
    Context,
    ExportSpec,
    Hparam,
    Weight,
    block_count,
)
from ggufkit.mapping.transforms import PadRows, StackExperts

# Streams in addition to the first, to and from each of which there is a projection.
_N_PROJECTIONS = 3


def all_tokens(context: Context) -> PadRows:
    """Return the transform that gives image and audio tokens embeddings of zeros."""
    return PadRows(context.config["vocab_size"])


def _widths_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    widths = value if isinstance(value, list) else [value]
    same = len(set(widths)) == 1
    return {"intermediate_size": widths[0] if same else widths}


@inverse_of(_widths_to_config)
def per_block(config: Config) -> list[int]:
    """Return the width of the feed-forward part by block."""
    width = config["intermediate_size"]
    return [width] * block_count(config) if isinstance(width, int) else list(width)


def own_keys(config: Config) -> range:
    """Return the blocks with keys and values; the others use those of a block before them."""
    return range(block_count(config) - config["num_kv_shared_layers"])


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: a window but for every fifth block."""
    n = config["num_hidden_layers"]
    return ["sliding_attention" if (i + 1) % 5 else "full_attention" for i in range(n)]


def default_sparsity(config: Config) -> list[float]:
    """Return transformers' default: ten sparse blocks, if there are more."""
    n = config["num_hidden_layers"]
    n_sparse = 10 if n > 10 else 0
    return [0.95] * n_sparse + [0.0] * (n - n_sparse)


def _shares(scales: Any, _: ModelHeader) -> ConfigValues:
    """Return the shares, rounded to the shortest that give the same scales."""
    found = [
        float(scale > 0)
        if np.isinf(scale)
        else shortest_preimage(round(NormalDist().cdf(scale), 7), _quantile)
        for scale in scales
    ]
    return {"activation_sparsity_pattern": found}


@inverse_of(_shares)
def sparsity_scales(config: Config) -> list[float]:
    """Return how many standard deviations above the mean an activation must be, by block."""
    return [_quantile(share) for share in config["activation_sparsity_pattern"]]


def _quantile(share: float) -> float:
    """Return the normal distribution's, in float32 steps like torch's."""
    doubled = float(np.float32(2) * np.float32(share) - np.float32(1))
    if abs(doubled) >= 1:
        return math.copysign(math.inf, doubled)
    inverse_erf = NormalDist().inv_cdf((doubled + 1) / 2) / math.sqrt(2)
    return float(np.float32(inverse_erf) * np.float32(math.sqrt(2)))


# The vision and audio encoders are another file's.
IGNORE = (
    "*vision_tower.*",
    "*audio_tower.*",
    "*embed_vision.*",
    "*embed_audio.*",
)

_LAYER = "model.layers.{i}"

_GEMMA_NAMES: tuple[tuple[str, str], ...] = (
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("attn_q_norm", "self_attn.q_norm"),
)

_KEYS = (
    *only(decoder(), "attn_k", "attn_v"),
    Weight("blk.{i}.attn_k_norm", f"{_LAYER}.self_attn.k_norm"),
)

# Gemma's tensors; norms are not shifted any more.
GEMMA_WEIGHTS = (
    *without(decoder(), "token_embd", "output", "ffn_norm", "attn_k", "attn_v"),
    *(Weight(f"blk.{{i}}.{name}", f"{_LAYER}.{source}") for name, source in _GEMMA_NAMES),
    *(replace(weight, in_layers=own_keys) for weight in _KEYS),
)


def per_layer_weights(**options: Any) -> tuple[Weight, ...]:
    """Return the weights of embeddings per block, but for the embeddings.

    Parameters
    ----------
    **options
        Of each `Weight`.
    """
    names = (
        ("per_layer_model_proj", "model.per_layer_model_projection"),
        ("per_layer_proj_norm", "model.per_layer_projection_norm"),
        ("blk.{i}.inp_gate", f"{_LAYER}.per_layer_input_gate"),
        ("blk.{i}.proj", f"{_LAYER}.per_layer_projection"),
        ("blk.{i}.post_norm", f"{_LAYER}.post_per_layer_input_norm"),
    )
    return tuple(Weight(name, source, **options) for name, source in names)


_ALTUP = (
    ("altup_correct_coef", "altup.correction_coefs"),
    ("altup_predict_coef", "altup.prediction_coefs"),
    ("altup_router", "altup.modality_router"),
    ("altup_router_norm", "altup.router_norm"),
    ("laurel_l", "laurel.linear_left"),
    ("laurel_r", "laurel.linear_right"),
    ("laurel_post_norm", "laurel.post_laurel_norm"),
)

GEMMA3N = Architecture(
    name="gemma3n",
    title="Gemma 3n, its text part",
    hf_classes=("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration"),
    tokenizer="gemma3n",
    defaults={
        "max_position_embeddings": 32768,
        "hidden_size": 2048,
        "intermediate_size": 16384,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10000.0,
        "sliding_window": 512,
        "final_logit_softcapping": 30.0,
        "vocab_size": 262400,
        "hidden_size_per_layer_input": 256,
        "altup_active_idx": 0,
        "altup_num_inputs": 4,
        "num_kv_shared_layers": 15,
        "layer_types": default_layer_types,
        "activation_sparsity_pattern": default_sparsity,
    },
    hparams=(
        *replaced(GEMMA3.hparams, Hparam("feed_forward_length", per_block)),
        Hparam("altup.active_idx", "altup_active_idx"),
        Hparam("altup.num_inputs", "altup_num_inputs"),
        Hparam("embedding_length_per_layer_input", "hidden_size_per_layer_input"),
        Hparam("attention.shared_kv_layers", "num_kv_shared_layers"),
        Hparam("activation_sparsity_scale", sparsity_scales),
        Hparam("attention.sliding_window_pattern", sliding_layers),
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens", all_tokens),
        Weight("per_layer_token_embd", "model.embed_tokens_per_layer", all_tokens),
        Weight("output", "lm_head", all_tokens, optional=True),
        *GEMMA_WEIGHTS,
        *per_layer_weights(),
        *(
            Weight(
                name,
                f"model.{name}.{{i}}.{{e}}",
                StackExperts(),
                stack_size=lambda _: _N_PROJECTIONS,
            )
            for name in ("altup_proj", "altup_unembd_proj")
        ),
        *(Weight(f"blk.{{i}}.{name}", f"{_LAYER}.{source}") for name, source in _ALTUP),
        Weight(
            "blk.{i}.altup_correct_scale.weight",
            f"{_LAYER}.altup.correct_output_scale",
            full_name=True,
        ),
    ),
    rename=(
        *RENAME,
        # a stack of projections, as that of a block's experts
        (r"altup_projections\.(\d+)", r"altup_proj.0.\1"),
        (r"altup_unembed_projections\.(\d+)", r"altup_unembd_proj.1.\1"),
    ),
    tied_output=True,
    ignore=IGNORE,
    export=ExportSpec(
        "gemma3n_text",
        config={"vocab_size_per_layer_input": RowCount("per_layer_token_embd.weight")},
        rename=(
            (r"altup_proj\.\{i\}\.", "altup_projections."),
            (r"altup_unembd_proj\.\{i\}\.", "altup_unembed_projections."),
        ),
    ),
)
