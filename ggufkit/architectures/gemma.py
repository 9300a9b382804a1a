"""Gemma 1: norms stored as their difference from one, tied embeddings.

Source: llama.cpp conversion/gemma.py GemmaModel; transformers gemma.
"""

from ggufkit.mapping.blocks import decoder
from ggufkit.mapping.spec import FILE_TYPE, Architecture, ExportSpec, Hparam
from ggufkit.mapping.transforms import AddOne

_DECODER = {weight.source: weight for weight in decoder(norm=AddOne())}

GEMMA = Architecture(
    name="gemma",
    title="Gemma 1, CodeGemma",
    hf_classes=("GemmaForCausalLM",),
    tokenizer="gemma",
    defaults={
        "max_position_embeddings": 8192,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "rms_norm_eps": 1e-6,
    },
    hparams=(
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        Hparam("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        Hparam("attention.key_length", "head_dim"),
        Hparam("attention.value_length", "head_dim"),
        FILE_TYPE,
    ),
    weights=tuple(w for w in _DECODER.values() if w.name != "output"),
    tied_output=True,
    export=ExportSpec("gemma"),
)
