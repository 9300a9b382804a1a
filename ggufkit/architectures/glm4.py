"""GLM-4 of April 2025 (9B, 32B, Z1), GLM-4.1V, GLM-OCR: fused gates and ups, four norms per block.

Source: llama.cpp conversion/glm.py Glm4Model, GlmOCRModel; transformers glm4, glm4v, glm_ocr.
"""

from dataclasses import replace

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, WRAPPED, decoder, head_dim, replaced, without
from ggufkit.mapping.config_inverse import Less, RotaryShare, head_dim_of
from ggufkit.mapping.model_header import HAS_BIASES, Both, HasHparam, Not, inverse_of
from ggufkit.mapping.row_transforms import PairsToHalves
from ggufkit.mapping.spec import (
    Architecture,
    Config,
    Context,
    ExportSpec,
    Hparam,
    Weight,
    block_count,
)
from ggufkit.mapping.transforms import IDENTITY, Transform


@inverse_of(RotaryShare("partial_rotary_factor", head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(head_dim(config) * rope.full(config).get("partial_rotary_factor", 0.5))


def in_halves(context: Context) -> Transform:
    """Return the row order of queries and keys, which is llama.cpp's where M-RoPE rotates them."""
    if rope.sections(context.config) is None:
        return IDENTITY
    return PairsToHalves(head_dim(context.config), rope_dim(context.config))


_LAYER = "model.layers.{i}"


@inverse_of(Less("num_hidden_layers", "nextn_predict_layers"))
def n_layers_with_mtp(config: Config) -> int:
    """Return the number of layers, with those for multi-token prediction."""
    return block_count(config) + int(config.get("num_nextn_predict_layers") or 0)


def mtp_layers(config: Config) -> range:
    """Return the layers for multi-token prediction, which come after the others."""
    return range(block_count(config), n_layers_with_mtp(config))


# The additional tensors of an MTP layer.
NEXTN_WEIGHTS = tuple(
    Weight(f"blk.{{i}}.nextn.{name.replace('.', '_')}", f"{_LAYER}.{name}", optional=True)
    for name in (
        "embed_tokens",
        "shared_head.head",
        "shared_head.norm",
        "eh_proj",
        "enorm",
        "hnorm",
    )
)

_M_ROPE, _MTP = HasHparam("rope.dimension_sections"), HasHparam("nextn_predict_layers")
_NESTED = ((r"^model\.", "model.language_model."),)

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
        *without(decoder(q=in_halves, k=in_halves), "ffn_gate", "ffn_up"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.gate_up_proj"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_self_attn_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_mlp_layernorm"),
    ),
    export=ExportSpec(
        "glm4",
        config={"attention_bias": HAS_BIASES},
        matches=Not(_M_ROPE),
    ),
)

GLM4V = replace(
    GLM4,
    title="GLM-4.1V, its text part",
    hf_classes=("Glm4vForConditionalGeneration",),
    defaults={k: v for k, v in GLM4.defaults.items() if k != "head_dim"},
    rename=WRAPPED,
    ignore=("*visual.*",),
    export=ExportSpec(
        "glm4v_text",
        nested="glm4v",
        config={"attention_bias": HAS_BIASES},
        rename=_NESTED,
        matches=Both(_M_ROPE, Not(_MTP)),
    ),
)

GLM_OCR = replace(
    GLM4V,
    title="GLM-OCR, its text part",
    hf_classes=("GlmOcrForConditionalGeneration",),
    defaults=GLM4.defaults,
    hparams=(
        *replaced(GLM4.hparams, Hparam("block_count", n_layers_with_mtp)),
        Hparam("nextn_predict_layers", "num_nextn_predict_layers"),
    ),
    weights=(*GLM4.weights, *NEXTN_WEIGHTS),
    export=ExportSpec("glm_ocr_text", nested="glm_ocr", rename=_NESTED, matches=_MTP),
)
