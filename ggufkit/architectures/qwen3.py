"""Qwen3: Qwen2 with QK-norm instead of biases.

Source: llama.cpp conversion/qwen.py Qwen3Model; transformers qwen3.
"""

from dataclasses import replace

from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.mapping.blocks import QK_NORMS, decoder
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import ExportSpec

QWEN3 = replace(
    QWEN2,
    name="qwen3",
    title="Qwen 3",
    hf_classes=("Qwen3ForCausalLM", "Qwen3Model"),
    defaults={**QWEN2.defaults, "head_dim": 128},
    weights=(*decoder(), *QK_NORMS),
    export=ExportSpec("qwen3", config={"attention_bias": HAS_BIASES}),
)
