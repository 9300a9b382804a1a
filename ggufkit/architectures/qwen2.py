"""Qwen2 and 2.5: a llama with biased queries, keys and values.

Source: llama.cpp conversion/qwen.py Qwen2Model; transformers qwen2.
"""

from dataclasses import replace

from ggufkit.mapping.blocks import BARE, HPARAMS, POOLING, WRAPPED, decoder, n_heads
from ggufkit.mapping.spec import Architecture, ExportSpec

QWEN2 = Architecture(
    name="qwen2",
    title="Qwen 2, 2.5, QwQ",
    hf_classes=("Qwen2ForCausalLM", "Qwen2Model"),
    tokenizer="qwen",
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(*HPARAMS, *POOLING),
    weights=decoder(),
    rename=(*WRAPPED, *BARE),
    export=ExportSpec("qwen2"),
)

# other names of its norms
KORMO = replace(
    QWEN2,
    title="KORMo",
    hf_classes=("KORMoForCausalLM",),
    rename=(
        (r"\.pre_attention_layernorm\.", ".input_layernorm."),
        (r"\.pre_mlp_layernorm\.", ".post_attention_layernorm."),
    ),
    export=ExportSpec(
        "kormo",
        rename=(
            (r"\.input_layernorm\.", ".pre_attention_layernorm."),
            (r"\.post_attention_layernorm\.", ".pre_mlp_layernorm."),
        ),
    ),
)
