"""Granite with sliding-window attention and sinks, dense or with experts.

Source: llama.cpp conversion/granite.py GraniteSWAModel, GraniteMoeSWAModel; transformers
granite_swa, granitemoe_swa.
"""

from dataclasses import replace

from ggufkit.architectures.granite import GRANITE, MOE_DEFAULTS, SHARED_WIDTH
from ggufkit.mapping.blocks import FFN, without
from ggufkit.mapping.config_inverse import LayerTypes
from ggufkit.mapping.model_header import (
    BIASES,
    ConfigValues,
    HasTensor,
    ModelHeader,
    Not,
    inverse_of,
)
from ggufkit.mapping.spec import Config, ExportSpec, Hparam, Weight, block_count

_LAYER = "model.layers.{i}"
_MOE = f"{_LAYER}.block_sparse_moe"
_SHARED = f"{_LAYER}.shared_mlp"


@inverse_of(LayerTypes("sliding_attention", "full_attention"))
def _windowed(config: Config) -> list[bool]:
    """Return which layers attend to a window only: by default three of four, the first not."""
    types = config.get("layer_types") or ()
    return [kind == "sliding_attention" for kind in types] or [
        i % 4 != 0 for i in range(block_count(config))
    ]


def _rotated_to_config(value: list[bool], _: ModelHeader) -> ConfigValues:
    return {"no_rope_layers": [int(rotated) for rotated in value]}


@inverse_of(_rotated_to_config)
def _rotated(config: Config) -> list[bool] | None:
    """Return which layers rotate queries and keys, where config.json says so."""
    return [bool(rotated) for rotated in config.get("no_rope_layers") or ()] or None


GRANITE_SWA = replace(
    GRANITE,
    name="granite_swa",
    title="Granite with sliding windows",
    hf_classes=("GraniteSWAForCausalLM",),
    defaults={**GRANITE.defaults, "sliding_window": 128},
    hparams=(
        *GRANITE.hparams,
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", _windowed),
        Hparam("attention.rope_pattern", _rotated),
    ),
    weights=(
        *GRANITE.weights,
        Weight("blk.{i}.attn_sinks.weight", f"{_LAYER}.self_attn.sinks", full_name=True),
    ),
    export=ExportSpec("granite_swa", config=BIASES, matches=Not(HasTensor("ffn_gate_inp.weight"))),
)

# gates and ups stay fused; checkpoints have experts under one of two names
GRANITE_MOE_SWA = replace(
    GRANITE_SWA,
    title="Granite with sliding windows and experts",
    hf_classes=("GraniteMoeSWAForCausalLM",),
    defaults={**MOE_DEFAULTS, "sliding_window": 128},
    hparams=(*GRANITE_SWA.hparams, SHARED_WIDTH),
    weights=(
        *without(GRANITE_SWA.weights, *FFN),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.router"),
        Weight("blk.{i}.ffn_gate_up_exps.weight", f"{_MOE}.experts.gate_up_proj", full_name=True),
        Weight("blk.{i}.ffn_down_exps.weight", f"{_MOE}.experts.down_proj", full_name=True),
        Weight("blk.{i}.ffn_up_shexp", f"{_SHARED}.input_linear", optional=True),
        Weight("blk.{i}.ffn_down_shexp", f"{_SHARED}.output_linear", optional=True),
    ),
    export=ExportSpec("granitemoe_swa", matches=HasTensor("ffn_gate_inp.weight")),
)
