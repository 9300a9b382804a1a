"""EmbeddingGemma: a Gemma 3 that attends both ways.

Source: llama.cpp conversion/gemma.py EmbeddingGemma; transformers gemma3.
"""

from dataclasses import replace

from ggufkit.architectures.gemma3 import GEMMA3
from ggufkit.mapping.blocks import BARE, HPARAMS, POOLING, WRAPPED
from ggufkit.mapping.model_header import HparamValue
from ggufkit.mapping.spec import ExportSpec, Hparam, NonZero

GEMMA_EMBEDDING = replace(
    GEMMA3,
    name="gemma-embedding",
    title="EmbeddingGemma",
    hf_classes=("Gemma3TextModel",),
    hparams=(
        *HPARAMS,
        Hparam("final_logit_softcapping", NonZero("final_logit_softcapping")),
        Hparam("attention.sliding_window", "sliding_window"),
        *POOLING,
    ),
    rename=(*WRAPPED, *BARE),
    export=ExportSpec(
        "gemma3_text",
        config={
            "query_pre_attn_scalar": HparamValue("attention.key_length"),
            "use_bidirectional_attention": True,
        },
        rename=((r"^model\.", ""),),
    ),
)
