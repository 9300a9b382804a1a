"""LFM2 with experts.

Source: llama.cpp conversion/lfm2.py LFM2MoeModel; transformers lfm2_moe.
"""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.lfm2 import LFM2, heads_kv
from ggufkit.mapping.blocks import FFN, HPARAMS, experts, only, replaced, without
from ggufkit.mapping.spec import Config, Hparam, Weight


def dense_blocks(config: Config) -> range:
    """Return the first blocks, which have no experts."""
    return range(min(config["num_dense_layers"], config["num_hidden_layers"]))


def moe_blocks(config: Config) -> range:
    """Return the blocks with experts."""
    return range(config["num_dense_layers"], config["num_hidden_layers"])


_LAYER = "model.layers.{i}"
_MOE = f"{_LAYER}.feed_forward"

LFM2MOE = replace(
    LFM2,
    name="lfm2moe",
    title="LFM2 with experts",
    hf_classes=("Lfm2MoeForCausalLM",),
    defaults={
        "max_position_embeddings": 128000,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
        "intermediate_size": 7168,
        "moe_intermediate_size": 1792,
        "num_dense_layers": 2,
        "num_experts": 32,
        "num_experts_per_tok": 4,
    },
    hparams=(
        *replaced(HPARAMS, Hparam("attention.head_count_kv", heads_kv)),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("leading_dense_block_count", "num_dense_layers"),
        Hparam("expert_gating_func", lambda _: 2),  # sigmoid
        Hparam("vocab_size", "vocab_size"),
        Hparam("shortconv.l_cache", "conv_L_cache"),
    ),
    weights=(
        *without(LFM2.weights, *FFN),
        *(replace(weight, blocks=dense_blocks) for weight in only(LFM2.weights, *FFN)),
        Weight("blk.{i}.ffn_gate_inp", f"{_MOE}.gate", blocks=moe_blocks),
        Weight("blk.{i}.exp_probs_b.bias", f"{_MOE}.expert_bias", optional=True, exact=True),
        *experts(
            f"{_MOE}.experts", (("w1", "gate"), ("w2", "down"), ("w3", "up")), blocks=moe_blocks
        ),
    ),
)
