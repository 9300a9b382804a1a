"""Qwen 3.5 and 3.6 with experts.

Source: llama.cpp conversion/qwen.py Qwen3_5MoeTextModel; transformers qwen3_5_moe.
"""

from dataclasses import replace

from ggufkit.architectures.qwen2moe import MOE_HPARAMS
from ggufkit.architectures.qwen3next import (
    BLOCK_COUNT,
    BLOCK_WEIGHTS,
    EXPERT_WEIGHTS,
    LINEAR_DEFAULTS,
    LINEAR_HPARAMS,
    MOE_DEFAULTS,
    mtp_names,
)
from ggufkit.architectures.qwen35 import QWEN35, SECTIONS, TILED_WEIGHTS
from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.spec import ExportSpec

QWEN35MOE = replace(
    QWEN35,
    name="qwen35moe",
    title="Qwen 3.5, 3.6 with experts",
    hf_classes=("Qwen3_5MoeForCausalLM", "Qwen3_5MoeForConditionalGeneration"),
    defaults={**LINEAR_DEFAULTS, **MOE_DEFAULTS, "num_experts": 256, "num_experts_per_tok": 8},
    hparams=(*replaced(MOE_HPARAMS, BLOCK_COUNT), *LINEAR_HPARAMS, SECTIONS),
    weights=(*BLOCK_WEIGHTS, *EXPERT_WEIGHTS, *TILED_WEIGHTS),
    export=ExportSpec(
        "qwen3_5_moe_text", config={"rope_scaling.mrope_interleaved": True}, rename=mtp_names
    ),
)
