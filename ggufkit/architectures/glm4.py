"""GLM-4 of April 2025 (9B, 32B, Z1): fused gates and ups, four norms per block.

Source: llama.cpp conversion/glm.py Glm4Model; transformers glm4.
"""

from ggufkit.mapping.blocks import HPARAMS, decoder, head_dim, without
from ggufkit.mapping.config_inverse import RotaryShare, head_dim_of
from ggufkit.mapping.model_header import HAS_BIASES, inverse_of
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, Weight


@inverse_of(RotaryShare("partial_rotary_factor", head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(head_dim(config) * full(config).get("partial_rotary_factor", 0.5))


_LAYER = "model.layers.{i}"

GLM4 = Architecture(
    name="glm4",
    title="GLM-4-0414, Z1",
    hf_classes=("Glm4ForCausalLM",),
    tokenizer="glm4",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1.5625e-7,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "num_key_value_heads": 2,
        "head_dim": 128,
    },
    hparams=(*HPARAMS, Hparam("rope.dimension_count", rope_dim)),
    weights=(
        *without(decoder(), "ffn_gate", "ffn_up"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.gate_up_proj"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_self_attn_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_mlp_layernorm"),
    ),
    export=ExportSpec("glm4", config={"attention_bias": HAS_BIASES}),
)
