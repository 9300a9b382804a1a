"""Qwen2 and 2.5 (biased queries, keys and values), Qwen3 (normed ones), and both with experts."""

from dataclasses import replace

from ggufkit.models.base import Architecture, Config, Context, Hparam, Weight
from ggufkit.models.common import (
    BARE,
    EXPERT_PARTS,
    HPARAMS,
    WRAPPED,
    decoder,
    experts,
    n_heads,
)
from ggufkit.models.rows import Part

_POOLING = {"mean": 1, "cls": 2, "lasttoken": 3}


def pooling_type(config: Config) -> int | None:
    """Return how token embeddings become one, where sentence-transformers files say so."""
    return _POOLING.get(str(config.get("pooling_mode")))


QWEN2 = Architecture(
    name="qwen2",
    hf_classes=("Qwen2ForCausalLM", "Qwen2Model"),
    tokenizer="qwen",
    defaults={
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "num_key_value_heads": n_heads,
    },
    hparams=(*HPARAMS, Hparam("pooling_type", pooling_type)),
    weights=decoder(),
    rename=(*WRAPPED, *BARE),
)

QWEN3 = replace(
    QWEN2,
    name="qwen3",
    hf_classes=("Qwen3ForCausalLM", "Qwen3Model"),
    defaults={**QWEN2.defaults, "head_dim": 128},
    weights=(
        *decoder(),
        Weight("blk.{i}.attn_q_norm", "model.layers.{i}.self_attn.q_norm"),
        Weight("blk.{i}.attn_k_norm", "model.layers.{i}.self_attn.k_norm"),
    ),
)


def dense_blocks(config: Config) -> list[int]:
    """Return the blocks without experts."""
    step, dense = config["decoder_sparse_step"], config["mlp_only_layers"]
    return [
        i for i in range(config["num_hidden_layers"]) if i in dense or step < 1 or (i + 1) % step
    ]


def moe_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    dense = set(dense_blocks(config))
    return [i for i in range(config["num_hidden_layers"]) if i not in dense]


def gate_half(_: Context) -> Part:
    """Return the transform of fused gates and ups to gates."""
    return Part(0)


def up_half(_: Context) -> Part:
    """Return the transform of fused gates and ups to ups."""
    return Part(1)


_MLP = "model.layers.{i}.mlp"

# One tensor per expert; or, as transformers keeps them in memory, stacked already.
_MOE = (
    *(
        replace(w, blocks=dense_blocks) if ".ffn_" in w.name and "norm" not in w.name else w
        for w in decoder()
    ),
    Weight("blk.{i}.ffn_gate_inp", f"{_MLP}.gate", blocks=moe_blocks),
    *experts(f"{_MLP}.experts", EXPERT_PARTS, blocks=moe_blocks),
    Weight("blk.{i}.ffn_down_exps.weight", f"{_MLP}.experts.down_proj", exact=True, optional=True),
    Weight(
        "blk.{i}.ffn_gate_exps.weight",
        f"{_MLP}.experts.gate_up_proj",
        gate_half,
        exact=True,
        optional=True,
    ),
    Weight(
        "blk.{i}.ffn_up_exps.weight",
        f"{_MLP}.experts.gate_up_proj",
        up_half,
        exact=True,
        optional=True,
    ),
)
_MOE_HPARAMS = (
    *HPARAMS,
    Hparam("expert_feed_forward_length", "moe_intermediate_size"),
    Hparam("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
)

QWEN2MOE = replace(
    QWEN2,
    name="qwen2moe",
    hf_classes=("Qwen2MoeForCausalLM",),
    tokenizer="gpt2",
    defaults={
        **QWEN2.defaults,
        "decoder_sparse_step": 1,
        "mlp_only_layers": (),
        "num_experts": 60,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
    },
    hparams=_MOE_HPARAMS,
    weights=(
        *_MOE,
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_shexp",
                f"{_MLP}.shared_expert.{part}_proj",
                blocks=moe_blocks,
            )
            for part in ("gate", "up", "down")
        ),
        Weight("blk.{i}.ffn_gate_inp_shexp", f"{_MLP}.shared_expert_gate", blocks=moe_blocks),
    ),
)

QWEN3MOE = replace(
    QWEN2MOE,
    name="qwen3moe",
    hf_classes=("Qwen3MoeForCausalLM",),
    defaults={
        **QWEN2.defaults,
        "num_key_value_heads": 4,
        "decoder_sparse_step": 1,
        "mlp_only_layers": (),
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
    weights=(
        *_MOE,
        Weight("blk.{i}.attn_q_norm", "model.layers.{i}.self_attn.q_norm"),
        Weight("blk.{i}.attn_k_norm", "model.layers.{i}.self_attn.k_norm"),
    ),
)
