"""SmolLM3: a llama that rotates nothing in every fourth layer.

Source: llama.cpp conversion/llama.py SmolLM3Model; transformers smollm3.
"""

from dataclasses import replace

from ggufkit.architectures.llama import LLAMA
from ggufkit.mapping.model_header import BIASES
from ggufkit.mapping.spec import ExportSpec

SMOLLM3 = replace(
    LLAMA,
    name="smollm3",
    title="SmolLM3",
    hf_classes=("SmolLM3ForCausalLM",),
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 2_000_000.0,
        "num_key_value_heads": 4,
    },
    export=ExportSpec("smollm3", config=BIASES),
)
