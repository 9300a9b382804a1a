"""Xverse without experts: a llama with a vocabulary of its own.

Source: llama.cpp conversion/xverse.py XverseModel; the modeling code in the models' repositories.
"""

from ggufkit.architectures.baichuan import LAYOUT
from ggufkit.mapping.blocks import HPARAMS, decoder, default_head_dim, permute
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

XVERSE = Architecture(
    name="xverse",
    title="XVERSE",
    hf_classes=("XverseForCausalLM",),
    tokenizer="xverse",
    hparams=(*HPARAMS, LAYOUT, Hparam("rope.dimension_count", default_head_dim)),
    weights=decoder(q=permute, k=permute),
    export=ExportSpec("xverse"),
)
