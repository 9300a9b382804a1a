"""GLM-4 of April 2025 (9B, 32B, Z1), GLM-4.5 to 4.7 with experts, and 4.7 Flash, a DeepSeek."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ggufkit.architectures.deepseek import DEEPSEEK3, dense_blocks, moe_blocks, tied_output
from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    QK_NORMS,
    decoder,
    experts,
    head_dim,
    replaced,
    without,
)
from ggufkit.mapping.rope import full
from ggufkit.mapping.spec import Architecture, Config, Hparam, Weight, block_count


def rotated(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    return int(head_dim(config) * full(config).get("partial_rotary_factor", 0.5))


_LAYER = "model.layers.{i}"

GLM4 = Architecture(
    name="glm4",
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
    hparams=(*HPARAMS, Hparam("rope.dimension_count", rotated)),
    weights=(
        *without(decoder(), "ffn_gate", "ffn_up"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.gate_up_proj"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_self_attn_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_mlp_layernorm"),
    ),
)

_MLP = f"{_LAYER}.mlp"


def all_blocks(config: Config) -> int:
    """Return the number of blocks, with those that predict further tokens."""
    return block_count(config) + int(config.get("num_nextn_predict_layers") or 0)


# What a block that predicts further tokens has besides.
_NEXTN = tuple(
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

GLM4MOE = replace(
    GLM4,
    name="glm4moe",
    hf_classes=("Glm4MoeForCausalLM",),
    tokenizer="glm4_moe",
    defaults={
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "num_key_value_heads": 8,
        "moe_intermediate_size": 1408,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "n_routed_experts": 128,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "num_nextn_predict_layers": 1,
    },
    hparams=(
        *replaced(GLM4.hparams, Hparam("block_count", all_blocks)),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "n_shared_experts"),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("expert_gating_func", lambda _: 2),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", "norm_topk_prob"),
        Hparam("nextn_predict_layers", "num_nextn_predict_layers"),
    ),
    weights=(
        *without(decoder(), "ffn_norm", *FFN),
        *(replace(w, optional=True) for w in QK_NORMS),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        *(
            Weight(f"blk.{{i}}.ffn_{part}", f"{_MLP}.{part}_proj", blocks=dense_blocks)
            for part in ("gate", "up", "down")
        ),
        Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate", blocks=moe_blocks),
        Weight(
            "blk.{i}.exp_probs_b.bias",
            f"{_MLP}.gate.e_score_correction_bias",
            blocks=moe_blocks,
            exact=True,
        ),
        *experts(f"{_MLP}.experts", EXPERT_PARTS, blocks=moe_blocks),
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_shexp",
                f"{_MLP}.shared_experts.{part}_proj",
                blocks=moe_blocks,
            )
            for part in ("gate", "up", "down")
        ),
        *_NEXTN,
    ),
)

_LENGTHS = ("attention.key_length", "attention.value_length")


def _with_late_lengths(hparams: tuple[Hparam | str, ...]) -> Iterator[Hparam | str]:
    """Yield DeepSeek's hparams; without a head_dim, lengths come after those of latents."""
    by_key = {h.key: h for h in hparams if isinstance(h, Hparam)}
    for hparam in hparams:
        key = hparam.key if isinstance(hparam, Hparam) else ""
        if key not in _LENGTHS:
            yield hparam
        if key == "attention.kv_lora_rank":
            yield from (by_key[name] for name in _LENGTHS)


GLM4MOE_LITE = replace(
    DEEPSEEK3,
    hf_classes=("Glm4MoeLiteForCausalLM",),
    tokenizer="glm4_moe",
    defaults={
        **DEEPSEEK3.defaults,
        "max_position_embeddings": 202752,
        "rms_norm_eps": 1e-5,
        "first_k_dense_replace": 1,
        "n_routed_experts": 64,
        "num_experts_per_tok": 4,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 768,
        "qk_nope_head_dim": 192,
        "v_head_dim": 256,
        "moe_intermediate_size": 1536,
        "routed_scaling_factor": 1.8,
        "num_nextn_predict_layers": 0,
    },
    hparams=(
        *_with_late_lengths(replaced(DEEPSEEK3.hparams, Hparam("block_count", all_blocks))),
        Hparam("nextn_predict_layers", lambda config: config["num_nextn_predict_layers"] or None),
    ),
    weights=(*DEEPSEEK3.weights, *_NEXTN),
    ignore=tied_output,
)
