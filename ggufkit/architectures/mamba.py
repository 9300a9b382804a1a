"""Mamba and Falcon Mamba: state spaces instead of attention.

Source: llama.cpp conversion/mamba.py MambaModel; transformers mamba, falcon_mamba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, Context, Hparam, Weight
from ggufkit.mapping.transforms import NegativeExp, Reshape, Squeeze, Transform


def first(config: Config, names: tuple[str, ...], default: int | float) -> int | float:
    """Return the first of `names` that config.json gives and that is not 0."""
    found = next((config[name] for name in names if name in config), None)
    return found or default


def reads(*names: str, default: int | float) -> Callable[[Config], int | float]:
    """Return the function that reads the first of `names`."""
    return lambda config: first(config, names, default)


def width(config: Config) -> int:
    """Return the width of the embeddings."""
    return int(first(config, ("hidden_size", "d_model", "dim"), 0))


def inner_size(config: Config) -> int:
    """Return the width inside of a block."""
    doubled = int(first(config, ("expand",), 2)) * width(config)
    return int(first(config, ("intermediate_size", "d_inner"), doubled))


def time_step_rank(config: Config) -> int:
    """Return the rank of the time steps' projection."""
    return int(first(config, ("time_step_rank", "dt_rank"), -(-width(config) // 16)))


def squeeze(_: Context) -> Transform:
    """Return the transform of convolutions; their biases stay as they are."""
    return Squeeze()


def decay(_: Context) -> Transform:
    """Return the transform of decays."""
    return NegativeExp()


def keep(_: Context) -> Transform:
    """Return the transform of convolutions' biases."""
    return Reshape((-1,))


EPS = ("layer_norm_epsilon", "rms_norm_eps")

_LAYER = "backbone.layers.{i}"
_MIXER = f"{_LAYER}.mixer"
COMMON_WEIGHTS = (
    Weight("token_embd", "backbone.embeddings"),
    Weight("output_norm", "backbone.norm_f"),
    Weight("blk.{i}.attn_norm", f"{_LAYER}.norm"),
    Weight("blk.{i}.ssm_in", f"{_MIXER}.in_proj"),
    Weight("blk.{i}.ssm_conv1d", f"{_MIXER}.conv1d", squeeze, bias=keep),
    Weight("blk.{i}.ssm_out", f"{_MIXER}.out_proj"),
)

LEADING_HPARAMS = (
    Hparam("context_length", lambda _: 2**20),  # any
    Hparam("embedding_length", width),
    Hparam("feed_forward_length", lambda _: 0),
    Hparam("attention.head_count", lambda _: 0),
    Hparam("block_count", ("n_layers", "num_hidden_layers", "n_layer", "num_layers")),
    Hparam("ssm.conv_kernel", reads("conv_kernel", "d_conv", default=4)),
    Hparam("ssm.inner_size", inner_size),
)

MAMBA = Architecture(
    name="mamba",
    title="Mamba",
    hf_classes=("MambaForCausalLM",),
    tokenizer="mamba",
    hparams=(
        *LEADING_HPARAMS,
        Hparam("ssm.state_size", reads("state_size", "d_state", default=16)),
        Hparam("ssm.time_step_rank", time_step_rank),
        Hparam("attention.layer_norm_rms_epsilon", reads(*EPS, default=1e-5)),
        Hparam("ssm.dt_b_c_rms", lambda _: False),
        FILE_TYPE,
    ),
    weights=(
        *COMMON_WEIGHTS,
        Weight("blk.{i}.ssm_x", f"{_MIXER}.x_proj"),
        Weight("blk.{i}.ssm_dt", f"{_MIXER}.dt_proj"),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", decay, exact=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", exact=True),
    ),
)

FALCON_MAMBA = replace(
    MAMBA,
    title="Falcon Mamba",
    hf_classes=("FalconMambaForCausalLM",),
    hparams=replaced(MAMBA.hparams, Hparam("ssm.dt_b_c_rms", lambda _: True)),
    weights=(*MAMBA.weights, Weight("output", "lm_head", optional=True)),
)
