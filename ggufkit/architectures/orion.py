"""Orion: a llama with layer norms.

Source: llama.cpp conversion/orion.py OrionModel; the modeling code in the models' repositories.
"""

from ggufkit.architectures.baichuan import LAYOUT
from ggufkit.mapping.blocks import decoder, n_heads
from ggufkit.mapping.spec import FILE_TYPE, Architecture, ExportSpec, Hparam

ORION = Architecture(
    name="orion",
    title="Orion",
    hf_classes=("OrionForCausalLM",),
    tokenizer="spm",
    defaults={"num_key_value_heads": n_heads},
    hparams=(
        FILE_TYPE,
        LAYOUT,
        Hparam(
            "context_length", ("max_sequence_length", "max_position_embeddings", "model_max_length")
        ),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        # its norms are layer norms, whatever the key's name
        Hparam("attention.layer_norm_epsilon", "rms_norm_eps"),
    ),
    weights=decoder(),
    export=ExportSpec("orion"),
)
