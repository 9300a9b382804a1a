"""Mamba 1 and 2: state spaces instead of attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, Context, Hparam, Weight
from ggufkit.mapping.transforms import Compose, NegativeExp, Reshape, Squeeze, Transform


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


def heads(config: Config) -> int:
    """Return the heads of Mamba 2, which has a time step for each."""
    return inner_size(config) // int(first(config, ("head_dim",), 64))


def n_groups(config: Config) -> int:
    """Return the groups of heads that share a state's projections."""
    return int(first(config, ("n_groups",), 1))


def squeeze(_: Context) -> Transform:
    """Return the transform of convolutions; their biases stay as they are."""
    return Squeeze()


def decay(_: Context) -> Transform:
    """Return the transform of decays."""
    return NegativeExp()


def decay_column(_: Context) -> Transform:
    """Return the transform of one decay per head."""
    return Compose(NegativeExp(), Reshape((-1, 1)))


def column(_: Context) -> Transform:
    """Return the transform of one value per head."""
    return Reshape((-1, 1))


def grouped(context: Context) -> Transform:
    """Return the transform of norms, to a row per group."""
    return Reshape((n_groups(context.config), -1))


def grouped_by(key: str) -> Callable[[Context], Transform]:
    """Return the function that makes this transform, where `key` of the config counts groups."""
    return lambda context: Reshape((int(context.config[key]), -1))


def keep(_: Context) -> Transform:
    """Return the transform of convolutions' biases."""
    return Reshape((-1,))


_EPS = ("layer_norm_epsilon", "rms_norm_eps")
_LAYER = "backbone.layers.{i}"
_MIXER = f"{_LAYER}.mixer"
_COMMON = (
    Weight("token_embd", "backbone.embeddings"),
    Weight("output_norm", "backbone.norm_f"),
    Weight("blk.{i}.attn_norm", f"{_LAYER}.norm"),
    Weight("blk.{i}.ssm_in", f"{_MIXER}.in_proj"),
    Weight("blk.{i}.ssm_conv1d", f"{_MIXER}.conv1d", squeeze, bias=keep),
    Weight("blk.{i}.ssm_out", f"{_MIXER}.out_proj"),
)
_START = (
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
    hf_classes=("MambaForCausalLM",),
    tokenizer="mamba",
    hparams=(
        *_START,
        Hparam("ssm.state_size", reads("state_size", "d_state", default=16)),
        Hparam("ssm.time_step_rank", time_step_rank),
        Hparam("attention.layer_norm_rms_epsilon", reads(*_EPS, default=1e-5)),
        Hparam("ssm.dt_b_c_rms", lambda _: False),
        FILE_TYPE,
    ),
    weights=(
        *_COMMON,
        Weight("blk.{i}.ssm_x", f"{_MIXER}.x_proj"),
        Weight("blk.{i}.ssm_dt", f"{_MIXER}.dt_proj"),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", decay, exact=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", exact=True),
    ),
)

FALCON_MAMBA = replace(
    MAMBA,
    hf_classes=("FalconMambaForCausalLM",),
    hparams=replaced(MAMBA.hparams, Hparam("ssm.dt_b_c_rms", lambda _: True)),
    weights=(*MAMBA.weights, Weight("output", "lm_head", optional=True)),
)

MAMBA2 = replace(
    MAMBA,
    name="mamba2",
    hf_classes=("Mamba2ForCausalLM",),
    tokenizer="mamba2",
    hparams=(
        *_START,
        Hparam("ssm.state_size", reads("state_size", "d_state", default=128)),
        Hparam("ssm.time_step_rank", heads),
        Hparam("ssm.group_count", n_groups),
        Hparam("attention.layer_norm_rms_epsilon", reads(*_EPS, default=1e-5)),
        FILE_TYPE,
    ),
    weights=(
        *_COMMON,
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.ssm_norm", f"{_MIXER}.norm", grouped),
        Weight("blk.{i}.ssm_dt.bias", f"{_MIXER}.dt_bias", exact=True),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", decay_column, exact=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", column, exact=True),
    ),
    rename=((r"^model\.(?=backbone|lm_head)", ""),),
)
