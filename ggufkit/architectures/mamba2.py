"""Mamba 2: a decay per head, and norms in groups.

Source: llama.cpp conversion/mamba.py Mamba2Model; transformers mamba2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ggufkit.architectures.mamba import (
    COMMON_WEIGHTS,
    EPS,
    LEADING_HPARAMS,
    MAMBA,
    first,
    inner_size,
    reads,
)
from ggufkit.mapping.spec import FILE_TYPE, Config, Context, Hparam, Weight
from ggufkit.mapping.transforms import Compose, NegativeExp, Reshape, Transform


def heads(config: Config) -> int:
    """Return the heads of Mamba 2, which has a time step for each."""
    return inner_size(config) // int(first(config, ("head_dim",), 64))


def n_groups(config: Config) -> int:
    """Return the groups of heads that share a state's projections."""
    return int(first(config, ("n_groups",), 1))


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


_LAYER = "backbone.layers.{i}"
_MIXER = f"{_LAYER}.mixer"

MAMBA2 = replace(
    MAMBA,
    name="mamba2",
    title="Mamba 2",
    hf_classes=("Mamba2ForCausalLM",),
    tokenizer="mamba2",
    hparams=(
        *LEADING_HPARAMS,
        Hparam("ssm.state_size", reads("state_size", "d_state", default=128)),
        Hparam("ssm.time_step_rank", heads),
        Hparam("ssm.group_count", n_groups),
        Hparam("attention.layer_norm_rms_epsilon", reads(*EPS, default=1e-5)),
        FILE_TYPE,
    ),
    weights=(
        *COMMON_WEIGHTS,
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.ssm_norm", f"{_MIXER}.norm", grouped),
        Weight("blk.{i}.ssm_dt.bias", f"{_MIXER}.dt_bias", exact=True),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", decay_column, exact=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", column, exact=True),
    ),
    rename=((r"^model\.(?=backbone|lm_head)", ""),),
)
