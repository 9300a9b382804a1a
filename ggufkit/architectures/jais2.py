"""Jais 2: a nemotron with plain LayerNorm.

Source: llama.cpp conversion/jais.py Jais2Model; transformers jais2.
"""

from ggufkit.mapping.blocks import HPARAMS, decoder, default_head_dim, head_dim, n_heads, without
from ggufkit.mapping.model_header import BIASES
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam

JAIS2 = Architecture(
    name="jais2",
    title="Jais 2",
    hf_classes=("Jais2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
        "head_dim": default_head_dim,
    },
    hparams=(*HPARAMS, Hparam("rope.dimension_count", head_dim)),
    weights=without(decoder(), "ffn_gate"),
    export=ExportSpec("jais2", config=BIASES),
)
