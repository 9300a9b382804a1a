"""Granite 3: a llama with four multipliers; Granite 4 without Mamba blocks or experts.

Source: llama.cpp conversion/granite.py GraniteModel, GraniteHybridModel; transformers granite,
granitemoehybrid.
"""

from dataclasses import replace

from ggufkit.architectures.llama import LLAMA
from ggufkit.architectures.mamba import expanded_width
from ggufkit.mapping.blocks import (
    FFN,
    GATE_HALF,
    UP_HALF,
    KVHeads,
    decoder,
    default_head_dim,
    replaced,
    without,
)
from ggufkit.mapping.config_inverse import KVHeadsByLayer
from ggufkit.mapping.model_header import (
    BIASES,
    HAS_BIASES,
    MAMBA_BIASES,
    HasHparam,
    HparamValue,
    ModelHeader,
)
from ggufkit.mapping.row_transforms import PermuteRope
from ggufkit.mapping.spec import Config, Context, ExportSpec, Hparam, NonZero, Weight


def permute(context: Context) -> PermuteRope:
    """Return the row order of queries and keys; head_dim is not looked at."""
    return PermuteRope(default_head_dim(context.config))


_NO_HEAD_DIM = ("attention.key_length", "attention.value_length", "rope.dimension_count")

GRANITE = replace(
    LLAMA,
    name="granite",
    title="Granite 3",
    hf_classes=("GraniteForCausalLM",),
    defaults={
        **{k: v for k, v in LLAMA.defaults.items() if k != "head_dim"},
        "attention_multiplier": 1.0,
        "embedding_multiplier": 1.0,
        "residual_multiplier": 1.0,
        "logits_scaling": 1.0,
    },
    hparams=(
        *(h for h in LLAMA.hparams if isinstance(h, str) or h.key not in _NO_HEAD_DIM),
        Hparam("rope.dimension_count", default_head_dim),
        Hparam("attention.scale", NonZero("attention_multiplier")),
        Hparam("embedding_scale", NonZero("embedding_multiplier")),
        Hparam("residual_scale", NonZero("residual_multiplier")),
        Hparam("logit_scale", NonZero("logits_scaling")),
    ),
    weights=decoder(q=permute, k=permute),
    computed=(),
    export=ExportSpec("granite", config=BIASES),
)

SHARED_WIDTH = Hparam("expert_shared_feed_forward_length", NonZero("shared_intermediate_size"))

MOE_DEFAULTS = {**GRANITE.defaults, "num_local_experts": 8, "num_experts_per_tok": 2}

_SHARED = "model.layers.{i}.shared_mlp"
_ATTENTION_TYPES = ("attention", "full_attention")


def attention_blocks(config: Config) -> list[int]:
    """Return the blocks with attention."""
    return [i for i, kind in enumerate(config["layer_types"]) if kind in _ATTENTION_TYPES]


def is_hybrid(config: Config) -> bool:
    """Return whether there is a state space, of any config.json."""
    types = config.get("layer_types")
    return not isinstance(types, list) or any(kind not in _ATTENTION_TYPES for kind in types)


def is_dense(config: Config) -> bool:
    """Return whether there are no experts, of any config.json."""
    return config.get("num_local_experts") == 0


def _positions(header: ModelHeader) -> str:
    """Return whether queries and keys are rotated."""
    return "rope" if header.hparams.get("rope.scaling.finetuned") else "nope"


HYBRID_EXPORT = ExportSpec(
    "granitemoehybrid",
    config={
        **MAMBA_BIASES,
        "attention_bias": HAS_BIASES,
        "max_position_embeddings": HparamValue("context_length"),
        "position_embedding_type": _positions,
    },
    matches=HasHparam("ssm.conv_kernel"),
)

HYBRID_DEFAULTS = {
    **MOE_DEFAULTS,
    "mamba_d_conv": 4,
    "mamba_d_state": 256,
    "mamba_n_groups": 1,
    "mamba_n_heads": 128,
    "mamba_expand": 2,
    "shared_intermediate_size": 1024,
}

HEADS_KV = Hparam(
    "attention.head_count_kv",
    KVHeads(attention_blocks),
    inverse=KVHeadsByLayer("attention", "mamba"),
)
HYBRID_HPARAMS = (
    *replaced((*GRANITE.hparams, SHARED_WIDTH), HEADS_KV),
    Hparam("ssm.conv_kernel", "mamba_d_conv"),
    Hparam("ssm.state_size", "mamba_d_state"),
    Hparam("ssm.group_count", "mamba_n_groups"),
    Hparam("ssm.inner_size", expanded_width),
    Hparam("ssm.time_step_rank", "mamba_n_heads"),
    Hparam("rope.scaling.finetuned", lambda config: not is_hybrid(config)),
)

DENSE_WEIGHTS = (
    *without(GRANITE.weights, *FFN),
    Weight("blk.{i}.ffn_gate", f"{_SHARED}.input_linear", GATE_HALF),
    Weight("blk.{i}.ffn_up", f"{_SHARED}.input_linear", UP_HALF),
    Weight("blk.{i}.ffn_down", f"{_SHARED}.output_linear"),
)

GRANITE4 = replace(
    GRANITE,
    title="Granite 4 of attention alone",
    hf_classes=("GraniteMoeHybridForCausalLM",),
    tokenizer="qwen",
    defaults=HYBRID_DEFAULTS,
    hparams=HYBRID_HPARAMS,
    weights=DENSE_WEIGHTS,
    matches=lambda config: not is_hybrid(config) and is_dense(config),
    export=HYBRID_EXPORT,
)
