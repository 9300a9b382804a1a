"""ERNIE 4.5 without experts: a llama whose rows are in llama.cpp's order already.

Source: llama.cpp conversion/ernie.py Ernie4_5Model; transformers ernie4_5.
"""

from dataclasses import replace

from ggufkit.architectures.smollm3 import SMOLLM3
from ggufkit.mapping.blocks import HPARAMS, decoder
from ggufkit.mapping.spec import ExportSpec

ERNIE4_5 = replace(
    SMOLLM3,
    name="ernie4_5",
    title="ERNIE 4.5, without experts",
    hf_classes=("Ernie4_5_ForCausalLM", "Ernie4_5ForCausalLM"),
    tokenizer="ernie",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
    hparams=HPARAMS,
    weights=decoder(),
    computed=(),
    export=ExportSpec("ernie4_5", hf_class="Ernie4_5ForCausalLM"),
)
