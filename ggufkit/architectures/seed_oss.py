"""Seed-OSS: biased queries, keys and values; llama otherwise, but for a norm's name.

Source: llama.cpp conversion/olmo.py SeedOssModel; transformers seed_oss.
"""

from ggufkit.mapping.blocks import HPARAMS, decoder, without
from ggufkit.mapping.spec import Architecture, ExportSpec, Weight

SEED_OSS = Architecture(
    name="seed_oss",
    title="Seed-OSS",
    hf_classes=("SeedOssForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 524288,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    hparams=HPARAMS,
    weights=(
        *without(decoder(), "ffn_norm"),
        Weight("blk.{i}.post_attention_norm", "model.layers.{i}.post_attention_layernorm"),
    ),
    export=ExportSpec("seed_oss"),
)
