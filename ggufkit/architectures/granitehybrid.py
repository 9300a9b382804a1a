"""Granite 4: Mamba 2 in most blocks, attention in the others; with or without experts.

Source: llama.cpp conversion/granite.py GraniteHybridModel; transformers granitemoehybrid.
"""

from collections.abc import Iterable
from dataclasses import replace

from ggufkit.architectures.granite import (
    DENSE_WEIGHTS,
    HYBRID_DEFAULTS,
    HYBRID_EXPORT,
    HYBRID_HPARAMS,
    attention_blocks,
    is_dense,
    is_hybrid,
)
from ggufkit.architectures.granitemoe import GRANITEMOE
from ggufkit.architectures.mamba2 import COLUMN, DECAY_COLUMN, GroupedBy
from ggufkit.mapping.blocks import OtherLayers, only, without
from ggufkit.mapping.spec import Always, Hparam, Weight
from ggufkit.mapping.transforms import Reshape, Squeeze

_MAMBA = "model.layers.{i}.mamba"
_ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")


def _in_blocks(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    """Return the weights of a model in which some blocks have attention and some Mamba."""
    weights = tuple(weights)
    return (
        *without(weights, *_ATTENTION),
        *(replace(w, in_layers=attention_blocks) for w in only(weights, *_ATTENTION)),
        *(
            replace(weight, in_layers=OtherLayers(attention_blocks))
            for weight in (
                Weight("blk.{i}.ssm_in", f"{_MAMBA}.in_proj"),
                Weight("blk.{i}.ssm_conv1d", f"{_MAMBA}.conv1d", Squeeze(), bias=Reshape((-1,))),
                Weight("blk.{i}.ssm_dt.bias", f"{_MAMBA}.dt_bias", full_name=True),
                Weight("blk.{i}.ssm_a", f"{_MAMBA}.A_log", DECAY_COLUMN, full_name=True),
                Weight("blk.{i}.ssm_d", f"{_MAMBA}.D", COLUMN, full_name=True),
                Weight("blk.{i}.ssm_norm", f"{_MAMBA}.norm", GroupedBy("mamba_n_groups")),
                Weight("blk.{i}.ssm_out", f"{_MAMBA}.out_proj"),
            )
        ),
    )


GRANITEHYBRID = replace(
    GRANITEMOE,
    name="granitehybrid",
    title="Granite 4 with state spaces, with and without experts",
    hf_classes=("GraniteMoeHybridForCausalLM",),
    tokenizer="granite4",
    defaults=HYBRID_DEFAULTS,
    hparams=(*HYBRID_HPARAMS, Hparam("context_length", Always(2**20))),  # any, without positions
    weights=_in_blocks(GRANITEMOE.weights),
    export=HYBRID_EXPORT,
)

GRANITEHYBRID_DENSE = replace(
    GRANITEHYBRID,
    weights=_in_blocks(DENSE_WEIGHTS),
    matches=lambda config: is_hybrid(config) and is_dense(config),
)
