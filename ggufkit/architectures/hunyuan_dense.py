"""Hunyuan without experts: a llama with QK-norm.

Source: llama.cpp conversion/hunyuan.py HunYuanModel; transformers hunyuan_v1_dense.
"""

from dataclasses import replace

from ggufkit.architectures.ernie4_5 import ERNIE4_5
from ggufkit.mapping.blocks import decoder, n_heads
from ggufkit.mapping.model_header import HAS_BIASES
from ggufkit.mapping.spec import ExportSpec, Weight

HUNYUAN = replace(
    ERNIE4_5,
    name="hunyuan-dense",
    title="Hunyuan without experts",
    hf_classes=("HunYuanDenseV1ForCausalLM",),
    tokenizer="hunyuan",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    weights=(
        *decoder(),
        Weight("blk.{i}.attn_q_norm", "model.layers.{i}.self_attn.query_layernorm"),
        Weight("blk.{i}.attn_k_norm", "model.layers.{i}.self_attn.key_layernorm"),
    ),
    export=ExportSpec("hunyuan_v1_dense", config={"attention_bias": HAS_BIASES}),
)
