"""gpt-oss: interleaved gates and ups, biases, attention sinks.

Its experts are MXFP4 blocks, whose matrices lie as ggml's do, or in 16 or 32 bits transposed.
The blocks are kept in files of every float type; see `ggufkit.checkpoint.quantized.mxfp4`.

Source: llama.cpp conversion/gpt_oss.py GptOssModel; transformers gpt_oss.
"""

from typing import Any

from ggufkit.mapping.blocks import FFN, HPARAMS, decoder, without
from ggufkit.mapping.row_transforms import Deinterleave
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Compose, Transform, Transpose


def columns(first: int) -> Transform:
    """Return the transform of fused gates and ups to one of them, stored as (in, out)."""
    return Compose(Transpose(), Deinterleave(first))


def rows(first: int) -> Transform:
    """Return the same for matrices that are stored as (out, in)."""
    return Deinterleave(first)


def bias_columns(first: int) -> Transform:
    """Return the same for biases, (n_experts, 2 * n)."""
    return Compose(Compose(Transpose(), Deinterleave(first)), Transpose())


def default_scaling(config: Config) -> dict[str, Any] | None:
    """Return how rope is scaled where config.json does not say."""
    if config.get("rope_parameters"):
        return None
    return {
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_max_position_embeddings": 4096,
    }


_LAYER = "model.layers.{i}"
_EXPERTS = f"{_LAYER}.mlp.experts"
_EXPS = "blk.{i}.ffn_%s_exps.%s"

GPT_OSS = Architecture(
    name="gpt-oss",
    title="gpt-oss",
    hf_classes=("GptOssForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "rope_scaling": default_scaling,
    },
    hparams=(
        *HPARAMS,
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("expert_feed_forward_length", "intermediate_size"),
    ),
    weights=(
        *without(decoder(), *FFN, "ffn_norm"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.attn_sinks.weight", f"{_LAYER}.self_attn.sinks", full_name=True),
        Weight("blk.{i}.ffn_gate_inp", f"{_LAYER}.mlp.router"),
        Weight(_EXPS % ("down", "weight"), f"{_EXPERTS}.down_proj", Transpose(), full_name=True),
        Weight(_EXPS % ("down", "weight"), f"{_EXPERTS}.down_proj_blocks", full_name=True),
        Weight(_EXPS % ("down", "bias"), f"{_EXPERTS}.down_proj_bias", full_name=True),
        *(
            Weight(
                _EXPS % (part, "weight"), f"{_EXPERTS}.gate_up_proj", columns(first), full_name=True
            )
            for first, part in enumerate(("gate", "up"))
        ),
        *(
            Weight(
                _EXPS % (part, "weight"),
                f"{_EXPERTS}.gate_up_proj_blocks",
                rows(first),
                full_name=True,
            )
            for first, part in enumerate(("gate", "up"))
        ),
        *(
            Weight(
                _EXPS % (part, "bias"),
                f"{_EXPERTS}.gate_up_proj_bias",
                bias_columns(first),
                full_name=True,
            )
            for first, part in enumerate(("gate", "up"))
        ),
    ),
    export=ExportSpec("gpt_oss", config={"rope_scaling.truncate": False}),
)
