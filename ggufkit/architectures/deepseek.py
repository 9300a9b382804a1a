"""DeepSeek V1 and DeepSeek MoE: a llama with experts, of which some are shared.

Source: llama.cpp conversion/deepseek.py DeepseekModel; the modeling code in the models'
repositories.
"""

from __future__ import annotations

from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    decoder,
    experts,
    head_dim,
    permute,
    unscaled,
    without,
)
from ggufkit.mapping.spec import Architecture, Config, Hparam, Weight


def dense_blocks(config: Config) -> range:
    """Return the first blocks, which have no experts."""
    return range(min(config["first_k_dense_replace"], config["num_hidden_layers"]))


def moe_blocks(config: Config) -> range:
    """Return the blocks with experts."""
    return range(config["first_k_dense_replace"], config["num_hidden_layers"])


_LAYER = "model.layers.{i}"
_MLP = f"{_LAYER}.mlp"
FFN_WEIGHTS = (
    *(
        Weight(f"blk.{{i}}.ffn_{part}", f"{_MLP}.{part}_proj", blocks=dense_blocks)
        for part in ("gate", "up", "down")
    ),
    Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate", blocks=moe_blocks),
    *experts(f"{_MLP}.experts", EXPERT_PARTS, blocks=moe_blocks),
    *(
        Weight(
            f"blk.{{i}}.ffn_{part}_shexp",
            f"{_MLP}.shared_experts.{part}_proj",
            blocks=moe_blocks,
        )
        for part in ("gate", "up", "down")
    ),
)

DEEPSEEK = Architecture(
    name="deepseek",
    title="DeepSeek V1, DeepSeek MoE",
    hf_classes=("DeepseekForCausalLM",),
    tokenizer="qwen",
    defaults={"first_k_dense_replace": 0},
    hparams=(
        *HPARAMS,
        Hparam("rope.dimension_count", head_dim),
        Hparam("rope.scaling.type", unscaled),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_weights_scale", lambda _: 1.0),
        Hparam("expert_shared_count", "n_shared_experts"),
    ),
    weights=(*without(decoder(q=permute, k=permute), *FFN), *FFN_WEIGHTS),
)
