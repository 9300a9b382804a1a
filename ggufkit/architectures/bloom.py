"""BLOOM: GPT-NeoX's fused projections, with ALiBi instead of RoPE.

Source: llama.cpp conversion/bloom.py BloomModel; transformers bloom.
"""

from dataclasses import replace

from ggufkit.architectures.gptneox import AROUND, GPTNEOX, n_heads, regroup
from ggufkit.mapping.model_header import HparamValue
from ggufkit.mapping.spec import FILE_TYPE, ExportSpec, Hparam, Weight

BLOOM = replace(
    GPTNEOX,
    name="bloom",
    title="BLOOM",
    hf_classes=("BloomForCausalLM", "BloomModel"),
    defaults={"layer_norm_epsilon": 1e-5},
    hparams=(
        Hparam("context_length", ("seq_length", "hidden_size", "n_embed")),
        Hparam("embedding_length", ("hidden_size", "n_embed")),
        Hparam("feed_forward_length", lambda config: 4 * int(config["hidden_size"])),
        Hparam("block_count", ("n_layers", "num_hidden_layers", "n_layer")),
        Hparam("attention.head_count", n_heads),
        Hparam("attention.head_count_kv", n_heads),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        FILE_TYPE,
    ),
    weights=(
        Weight("token_embd", "word_embeddings"),
        Weight("token_embd_norm", "word_embeddings_layernorm"),
        Weight("output_norm", "ln_f"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_qkv", "h.{i}.self_attention.query_key_value", regroup),
        Weight("blk.{i}.attn_output", "h.{i}.self_attention.dense"),
        *(Weight(f"blk.{{i}}.{name}", f"h.{{i}}.{source}") for name, source in AROUND),
    ),
    rename=((r"^transformer\.", ""),),
    ignore=(),
    export=ExportSpec("bloom", config={"seq_length": HparamValue("context_length")}),
)
