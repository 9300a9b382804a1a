"""Arcee AFM: a llama without gates.

Source: llama.cpp conversion/llama.py ArceeModel; transformers arcee.
"""

from dataclasses import replace

from ggufkit.architectures.llama import LLAMA
from ggufkit.mapping.blocks import POOLING, without
from ggufkit.mapping.model_header import BIASES
from ggufkit.mapping.spec import ExportSpec

# no gates
ARCEE = replace(
    LLAMA,
    name="arcee",
    title="Arcee AFM",
    hf_classes=("ArceeForCausalLM",),
    defaults={**LLAMA.defaults, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
    hparams=(*LLAMA.hparams, *POOLING),
    weights=without(LLAMA.weights, "ffn_gate"),
    export=ExportSpec("arcee", config=BIASES),
)
