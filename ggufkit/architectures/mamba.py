"""Mamba and Falcon Mamba: state spaces instead of attention.

Source: llama.cpp conversion/mamba.py MambaModel; transformers mamba, falcon_mamba.
"""

from dataclasses import dataclass, replace
from typing import Any

from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.model_header import ConfigValues, HparamValue, ModelHeader, inverse_of
from ggufkit.mapping.spec import FILE_TYPE, Always, Architecture, Config, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import NegativeExp, Reshape, Squeeze


def first(config: Config, names: tuple[str, ...], default: int | float) -> int | float:
    """Return the first of `names` that config.json gives and that is not 0."""
    found = next((config[name] for name in names if name in config), None)
    return found or default


@dataclass(frozen=True)
class FirstOf:
    """The first of several config keys, or a default."""

    names: tuple[str, ...]
    default: int | float

    @property
    def inverse(self) -> str:
        """The first key."""
        return self.names[0]

    def __call__(self, config: Config) -> int | float:
        """Return the value."""
        return first(config, self.names, self.default)


@inverse_of("hidden_size")
def width(config: Config) -> int:
    """Return the width of the embeddings."""
    return int(first(config, ("hidden_size", "d_model", "dim"), 0))


def _inner_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    width = int(header.hparams["embedding_length"])
    expand = {"expand": value // width} if width and value % width == 0 else {}
    return {"intermediate_size": value, **expand}


@inverse_of(_inner_to_config)
def inner_size(config: Config) -> int:
    """Return the width inside of a block."""
    doubled = int(first(config, ("expand",), 2)) * width(config)
    return int(first(config, ("intermediate_size", "d_inner"), doubled))


def _expand_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    width = int(header.hparams["embedding_length"])
    return {"mamba_expand": value // width} if width else {}


@inverse_of(_expand_to_config)
def expanded_width(config: Config) -> int:
    """Return the width inside of a state space combined with attention: a multiple of the model."""
    return int(config["mamba_expand"]) * int(config["hidden_size"])


@inverse_of("time_step_rank")
def time_step_rank(config: Config) -> int:
    """Return the rank of the time steps' projection."""
    return int(first(config, ("time_step_rank", "dt_rank"), -(-width(config) // 16)))


EPS = ("layer_norm_epsilon", "rms_norm_eps")

_LAYER = "backbone.layers.{i}"
_MIXER = f"{_LAYER}.mixer"
COMMON_WEIGHTS = (
    Weight("token_embd", "backbone.embeddings"),
    Weight("output_norm", "backbone.norm_f"),
    Weight("blk.{i}.attn_norm", f"{_LAYER}.norm"),
    Weight("blk.{i}.ssm_in", f"{_MIXER}.in_proj"),
    Weight("blk.{i}.ssm_conv1d", f"{_MIXER}.conv1d", Squeeze(), bias=Reshape((-1,))),
    Weight("blk.{i}.ssm_out", f"{_MIXER}.out_proj"),
)

LEADING_HPARAMS = (
    Hparam("context_length", Always(2**20)),  # any
    Hparam("embedding_length", width),
    Hparam("feed_forward_length", Always(0)),
    Hparam("attention.head_count", Always(0)),
    Hparam("block_count", ("n_layers", "num_hidden_layers", "n_layer", "num_layers")),
    Hparam("ssm.conv_kernel", FirstOf(("conv_kernel", "d_conv"), 4)),
    Hparam("ssm.inner_size", inner_size),
)

MAMBA = Architecture(
    name="mamba",
    title="Mamba",
    hf_classes=("MambaForCausalLM",),
    tokenizer="mamba",
    hparams=(
        *LEADING_HPARAMS,
        Hparam("ssm.state_size", FirstOf(("state_size", "d_state"), 16)),
        Hparam("ssm.time_step_rank", time_step_rank),
        Hparam("attention.layer_norm_rms_epsilon", FirstOf(EPS, 1e-5)),
        Hparam("ssm.dt_b_c_rms", Always(False)),
        FILE_TYPE,
    ),
    weights=(
        *COMMON_WEIGHTS,
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.ssm_x", f"{_MIXER}.x_proj"),
        Weight("blk.{i}.ssm_dt", f"{_MIXER}.dt_proj"),
        Weight("blk.{i}.ssm_a", f"{_MIXER}.A_log", NegativeExp(), full_name=True),
        Weight("blk.{i}.ssm_d", f"{_MIXER}.D", full_name=True),
    ),
    tied_output=True,
    export=ExportSpec("mamba"),
)

FALCON_MAMBA = replace(
    MAMBA,
    title="Falcon Mamba",
    hf_classes=("FalconMambaForCausalLM",),
    hparams=replaced(MAMBA.hparams, Hparam("ssm.dt_b_c_rms", Always(True))),
    export=ExportSpec("falcon_mamba", matches=HparamValue("ssm.dt_b_c_rms")),
)
