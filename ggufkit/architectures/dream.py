"""Dream: a Qwen2 that fills in masked tokens, so that attention looks both ways.

Source: llama.cpp conversion/dream.py DreamModel; the modeling code in the models' repositories.
"""

from dataclasses import replace

from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.mapping.blocks import HPARAMS, POOLING
from ggufkit.mapping.spec import Always, ExportSpec, Hparam

DREAM = replace(
    QWEN2,
    name="dream",
    title="Dream",
    hf_classes=("DreamModel",),
    hparams=(
        *HPARAMS,
        *POOLING,
        Hparam("attention.causal", Always(False)),
        Hparam("tokenizer.ggml.mask_token_id", "mask_token_id"),
    ),
    export=ExportSpec("Dream"),
)
