"""Granite 3 with experts, whose gates and ups are fused; Granite 4 without Mamba blocks.

Source: llama.cpp conversion/granite.py GraniteMoeModel, GraniteHybridModel; transformers
granitemoe, granitemoeshared, granitemoehybrid.
"""

from dataclasses import replace

from ggufkit.architectures.granite import (
    GRANITE,
    HYBRID_DEFAULTS,
    HYBRID_EXPORT,
    HYBRID_HPARAMS,
    MOE_DEFAULTS,
    SHARED_WIDTH,
    is_dense,
    is_hybrid,
)
from ggufkit.mapping.blocks import FFN, GATE_HALF, UP_HALF, without
from ggufkit.mapping.model_header import Choose, HasTensor
from ggufkit.mapping.spec import ExportSpec, Weight

_MOE = "model.layers.{i}.block_sparse_moe"
_SHARED = "model.layers.{i}.shared_mlp"

GRANITEMOE = replace(
    GRANITE,
    name="granitemoe",
    title="Granite 3 with experts",
    hf_classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    defaults=MOE_DEFAULTS,
    hparams=(*GRANITE.hparams, SHARED_WIDTH),
    weights=(
        *without(GRANITE.weights, *FFN),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.router.layer"),
        Weight("blk.{i}.ffn_gate_exps", f"{_MOE}.input_linear", GATE_HALF),
        Weight("blk.{i}.ffn_up_exps", f"{_MOE}.input_linear", UP_HALF),
        Weight("blk.{i}.ffn_down_exps", f"{_MOE}.output_linear"),
        Weight("blk.{i}.ffn_gate_shexp", f"{_SHARED}.input_linear", GATE_HALF, optional=True),
        Weight("blk.{i}.ffn_up_shexp", f"{_SHARED}.input_linear", UP_HALF, optional=True),
        Weight("blk.{i}.ffn_down_shexp", f"{_SHARED}.output_linear", optional=True),
    ),
    export=ExportSpec(
        "granitemoe",
        config={"model_type": Choose(HasTensor("blk.0.ffn_gate_shexp.weight"), "granitemoeshared")},
        task_heads=(("blk.0.ffn_gate_shexp.weight", "GraniteMoeSharedForCausalLM", ""),),
    ),
)

GRANITE4MOE = replace(
    GRANITEMOE,
    title="Granite 4 of attention alone, with experts",
    hf_classes=("GraniteMoeHybridForCausalLM",),
    tokenizer="qwen",
    defaults=HYBRID_DEFAULTS,
    hparams=HYBRID_HPARAMS,
    matches=lambda config: not is_hybrid(config) and not is_dense(config),
    export=HYBRID_EXPORT,
)
