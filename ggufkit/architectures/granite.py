"""Granite 3 and 4: llama with four multipliers; its experts' gates and ups are fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ggufkit.architectures.llama import LLAMA
from ggufkit.gguf.metadata import Value
from ggufkit.mapping.blocks import FFN, decoder, gate_half, per_head, up_half, without
from ggufkit.mapping.row_transforms import PermuteRope
from ggufkit.mapping.spec import Config, Context, Hparam, Weight


def permute(context: Context) -> PermuteRope:
    """Return the row order of queries and keys; head_dim is not looked at."""
    return PermuteRope(per_head(context.config))


def given(key: str) -> Callable[[Config], Value | None]:
    """Return the function that reads a multiplier, unless it is 0."""
    return lambda config: config.get(key) or None


_NO_HEAD_DIM = ("attention.key_length", "attention.value_length", "rope.dimension_count")

GRANITE = replace(
    LLAMA,
    name="granite",
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
        Hparam("rope.dimension_count", per_head),
        Hparam("attention.scale", given("attention_multiplier")),
        Hparam("embedding_scale", given("embedding_multiplier")),
        Hparam("residual_scale", given("residual_multiplier")),
        Hparam("logit_scale", given("logits_scaling")),
    ),
    weights=decoder(q=permute, k=permute),
    generated=(),
)

_MOE = "model.layers.{i}.block_sparse_moe"
_SHARED = "model.layers.{i}.shared_mlp"

GRANITEMOE = replace(
    GRANITE,
    name="granitemoe",
    hf_classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
    defaults={**GRANITE.defaults, "num_local_experts": 8, "num_experts_per_tok": 2},
    hparams=(
        *GRANITE.hparams,
        Hparam("expert_shared_feed_forward_length", given("shared_intermediate_size")),
    ),
    weights=(
        *without(GRANITE.weights, *FFN),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.router.layer"),
        Weight("blk.{i}.ffn_gate_exps", f"{_MOE}.input_linear", gate_half),
        Weight("blk.{i}.ffn_up_exps", f"{_MOE}.input_linear", up_half),
        Weight("blk.{i}.ffn_down_exps", f"{_MOE}.output_linear"),
        Weight("blk.{i}.ffn_gate_shexp", f"{_SHARED}.input_linear", gate_half, optional=True),
        Weight("blk.{i}.ffn_up_shexp", f"{_SHARED}.input_linear", up_half, optional=True),
        Weight("blk.{i}.ffn_down_shexp", f"{_SHARED}.output_linear", optional=True),
    ),
)
