"""Xverse without experts: a llama with a vocabulary of its own."""

from __future__ import annotations

from ggufkit.models.baichuan import LAYOUT
from ggufkit.models.base import Architecture, Hparam
from ggufkit.models.common import HPARAMS, decoder, per_head, permute

XVERSE = Architecture(
    name="xverse",
    hf_classes=("XverseForCausalLM",),
    tokenizer="xverse",
    hparams=(*HPARAMS, LAYOUT, Hparam("rope.dimension_count", per_head)),
    weights=decoder(q=permute, k=permute),
)
