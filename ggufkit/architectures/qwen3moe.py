"""Qwen3 with experts.

Source: llama.cpp conversion/qwen.py Qwen3MoeModel; transformers qwen3_moe.
"""

from dataclasses import replace

from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.architectures.qwen2moe import MOE_WEIGHTS, QWEN2MOE
from ggufkit.mapping.blocks import QK_NORMS
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import ExportSpec

QWEN3MOE = replace(
    QWEN2MOE,
    name="qwen3moe",
    title="Qwen 3 with experts",
    hf_classes=("Qwen3MoeForCausalLM",),
    defaults={
        **QWEN2.defaults,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
    weights=(*MOE_WEIGHTS, *QK_NORMS),
    export=ExportSpec("qwen3_moe", config={"attention_bias": HAS_BIASES}),
)
