"""Mamba 2: a decay per head, and norms in groups.

Source: llama.cpp conversion/mamba.py Mamba2Model; transformers mamba2.
"""

from dataclasses import dataclass, replace
from typing import Any

from ggufkit.architectures.mamba import (
    COMMON_WEIGHTS,
    EPS,
    LEADING_HPARAMS,
    MAMBA,
    FirstOf,
    first,
    inner_size,
)
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import FILE_TYPE, Config, Context, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Compose, NegativeExp, Reshape, Transform


def _heads_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    inner = int(header.hparams["ssm.inner_size"])
    return {"num_heads": value, "head_dim": inner // value if value else 0}


@inverse_of(_heads_to_config)
def heads(config: Config) -> int:
    """Return the heads of Mamba 2, which has a time step for each."""
    return inner_size(config) // int(first(config, ("head_dim",), 64))


@inverse_of("n_groups")
def n_groups(config: Config) -> int:
    """Return the groups of heads that share a state's projections."""
    return int(first(config, ("n_groups",), 1))


# One row per head.
COLUMN = Reshape((-1, 1))
DECAY_COLUMN = Compose(NegativeExp(), COLUMN)


def grouped(context: Context) -> Transform:
    """Return the transform of norms, to a row per group."""
    return Reshape((n_groups(context.config), -1))


@dataclass(frozen=True)
class GroupedBy:
    """The same transform, where a config key counts the groups."""

    key: str

    def __call__(self, context: Context) -> Transform:
        """Return it."""
        return Reshape((int(context.config[self.key]), -1))


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
        Hparam("ssm.state_size", FirstOf(("state_size", "d_state"), 128)),
        Hparam("ssm.time_step_rank", heads),
        Hparam("ssm.group_count", n_groups),
        Hparam("attention.layer_norm_rms_epsilon", FirstOf(EPS, 1e-5)),
        FILE_TYPE,
    ),
    weights=(
        *COMMON_WEIGHTS,
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.ssm_norm", f"{_MIXER}.norm", grouped),
        Weight("blk.{i}.ssm_dt.bias", f"{_MIXER}.dt_bias", full_name=True),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", DECAY_COLUMN, full_name=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", COLUMN, full_name=True),
    ),
    rename=((r"^model\.(?=backbone|lm_head)", ""),),
    export=ExportSpec("mamba2"),
)
