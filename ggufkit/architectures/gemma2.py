"""Gemma 2: four norms per block, capped logits, sliding-window attention.

Source: llama.cpp conversion/gemma.py Gemma2Model; transformers gemma2.
"""

from dataclasses import replace

from ggufkit.architectures.gemma import GEMMA
from ggufkit.mapping.spec import ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import AddOne

_LAYER = "model.layers.{i}"
FOUR_NORM_WEIGHTS = (
    *(w for w in GEMMA.weights if w.name != "blk.{i}.ffn_norm"),
    Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm", AddOne()),
    Weight("blk.{i}.ffn_norm", f"{_LAYER}.pre_feedforward_layernorm", AddOne()),
    Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm", AddOne()),
)

GEMMA2 = replace(
    GEMMA,
    name="gemma2",
    title="Gemma 2",
    hf_classes=("Gemma2ForCausalLM",),
    tokenizer="gemma2",
    defaults={
        **GEMMA.defaults,
        "num_key_value_heads": 4,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 4096,
    },
    hparams=(
        *GEMMA.hparams,
        Hparam("attn_logit_softcapping", "attn_logit_softcapping"),
        Hparam("final_logit_softcapping", "final_logit_softcapping"),
        Hparam("attention.sliding_window", "sliding_window"),
    ),
    weights=FOUR_NORM_WEIGHTS,
    export=ExportSpec("gemma2"),
)
