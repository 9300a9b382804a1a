"""StableLM 1.6B and 3B: partial RoPE. 12B, with one norm per head, is not among them.

Source: llama.cpp conversion/stablelm.py StableLMModel; transformers stablelm.
"""

from dataclasses import replace

from ggufkit.mapping.blocks import decoder, rope_dim
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import FILE_TYPE, Architecture, ExportSpec, Hparam

STABLELM = Architecture(
    name="stablelm",
    title="StableLM 1.6B, 3B",
    hf_classes=("StableLmForCausalLM", "StableLMEpochForCausalLM"),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 4096,
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.25,
        "num_key_value_heads": 32,
        "use_parallel_residual": False,
    },
    hparams=(
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_key_value_heads"),
        Hparam("use_parallel_residual", "use_parallel_residual"),
        Hparam("attention.layer_norm_epsilon", ("layer_norm_eps", "norm_eps")),
        FILE_TYPE,
    ),
    # blocks whose residuals are parallel have one norm
    weights=tuple(replace(w, optional=w.optional or "ffn_norm" in w.name) for w in decoder()),
    export=ExportSpec("stablelm", config={"use_qkv_bias": HAS_BIASES}),
)
