"""EmbeddingGemma: a Gemma 3 that attends both ways.

Source: llama.cpp conversion/gemma.py EmbeddingGemma; transformers gemma3.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.gemma3 import GEMMA3, final_softcap
from ggufkit.mapping.blocks import BARE, HPARAMS, POOLING, WRAPPED
from ggufkit.mapping.spec import Hparam

GEMMA_EMBEDDING = replace(
    GEMMA3,
    name="gemma-embedding",
    title="EmbeddingGemma",
    hf_classes=("Gemma3TextModel",),
    hparams=(
        *HPARAMS,
        Hparam("final_logit_softcapping", final_softcap),
        Hparam("attention.sliding_window", "sliding_window"),
        *POOLING,
    ),
    rename=(*WRAPPED, *BARE),
)
