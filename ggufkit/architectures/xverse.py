"""Xverse without experts: a llama with a vocabulary of its own."""

from __future__ import annotations

from ggufkit.architectures.baichuan import LAYOUT
from ggufkit.mapping.blocks import HPARAMS, decoder, per_head, permute
from ggufkit.mapping.spec import Architecture, Hparam

XVERSE = Architecture(
    name="xverse",
    hf_classes=("XverseForCausalLM",),
    tokenizer="xverse",
    hparams=(*HPARAMS, LAYOUT, Hparam("rope.dimension_count", per_head)),
    weights=decoder(q=permute, k=permute),
)
