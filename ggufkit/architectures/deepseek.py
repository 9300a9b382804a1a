"""DeepSeek: experts of which some are shared; V2 and V3 with latent attention."""

from __future__ import annotations

from dataclasses import replace

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import (
    EXPERT_PARTS,
    FFN,
    HPARAMS,
    decoder,
    experts,
    head_dim,
    only,
    permute,
    replaced,
    unscaled,
    without,
)
from ggufkit.mapping.row_transforms import SliceHeads
from ggufkit.mapping.spec import Architecture, Config, Context, Hparam, Weight
from ggufkit.mapping.transforms import Compose, Transpose


def key_heads(context: Context) -> Compose:
    """Return the keys' part of the fused latent projection, one transposed matrix per head."""
    keys, values = (int(context.config[f"{n}_head_dim"]) for n in ("qk_nope", "v"))
    return Compose(SliceHeads(keys + values, 0, keys, stack=True), Transpose())


def value_heads(context: Context) -> SliceHeads:
    """Return the values' part of the fused latent projection, one matrix per head."""
    keys, values = (int(context.config[f"{n}_head_dim"]) for n in ("qk_nope", "v"))
    return SliceHeads(keys + values, keys, keys + values, stack=True)


def dense_blocks(config: Config) -> range:
    """Return the first blocks, which have no experts."""
    return range(min(config["first_k_dense_replace"], config["num_hidden_layers"]))


def moe_blocks(config: Config) -> range:
    """Return the blocks with experts."""
    return range(config["first_k_dense_replace"], config["num_hidden_layers"])


def compressed(config: Config) -> range:
    """Return the blocks whose queries are compressed: all or none."""
    return range(config["num_hidden_layers"] if config.get("q_lora_rank") else 0)


def plain(config: Config) -> range:
    """Return the blocks whose queries are not compressed."""
    return range(0 if config.get("q_lora_rank") else config["num_hidden_layers"])


def tied_output(config: Config) -> tuple[str, ...]:
    """Return the output, where it is the embeddings."""
    return ("lm_head.weight",) if config.get("tie_word_embeddings") else ()


def ignored_tensors(config: Config) -> tuple[str, ...]:
    """Return what is left out: a tied output, and blocks that predict further tokens."""
    first, n = config["num_hidden_layers"], config.get("num_nextn_predict_layers") or 0
    return (
        *tied_output(config),
        *(f"model.layers.{i}.*" for i in range(first, first + n)),
    )


def key_length(config: Config) -> int:
    """Return the length of a compressed key."""
    return int(config["kv_lora_rank"] + config["qk_rope_head_dim"])


def key_length_mla(config: Config) -> int:
    """Return the length of a key once it is decompressed."""
    return int(config["qk_nope_head_dim"] + config["qk_rope_head_dim"])


def log_multiplier(config: Config) -> float | None:
    """Return yarn's factor for attention; llama.cpp wants a tenth of the checkpoint's."""
    mscale = rope.full(config).get("mscale_all_dim")
    return None if mscale is None else 0.1 * mscale


_LAYER = "model.layers.{i}"
_ATTENTION = f"{_LAYER}.self_attn"
_MLP = f"{_LAYER}.mlp"
_SAME = ("token_embd", "output_norm", "output", "attn_norm", "attn_output", "ffn_norm")

_FFN_PARTS = (
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
    weights=(*without(decoder(q=permute, k=permute), *FFN), *_FFN_PARTS),
)

DEEPSEEK2 = Architecture(
    name="deepseek2",
    hf_classes=("DeepseekV2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "first_k_dense_replace": 0,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "moe_intermediate_size": 1407,
        "routed_scaling_factor": 1.0,
    },
    hparams=(
        # attention is over the compressed keys and values, of which there is one head
        *replaced(
            HPARAMS,
            Hparam("attention.head_count_kv", lambda _: 1),
            Hparam("attention.key_length", key_length),
            Hparam("attention.value_length", "kv_lora_rank"),
        ),
        Hparam("leading_dense_block_count", "first_k_dense_replace"),
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.q_lora_rank", "q_lora_rank"),
        Hparam("attention.kv_lora_rank", "kv_lora_rank"),
        Hparam("attention.key_length_mla", key_length_mla),
        Hparam("attention.value_length_mla", "v_head_dim"),
        Hparam("expert_feed_forward_length", "moe_intermediate_size"),
        Hparam("expert_shared_count", "n_shared_experts"),
        Hparam("expert_weights_scale", "routed_scaling_factor"),
        Hparam("expert_weights_norm", lambda config: config.get("norm_topk_prob") or None),
        Hparam("rope.dimension_count", "qk_rope_head_dim"),
        Hparam("rope.scaling.yarn_log_multiplier", log_multiplier),
    ),
    weights=(
        *only(decoder(), *_SAME),
        Weight("blk.{i}.attn_q", f"{_ATTENTION}.q_proj", blocks=plain),
        Weight("blk.{i}.attn_q_a", f"{_ATTENTION}.q_a_proj", blocks=compressed),
        Weight("blk.{i}.attn_q_a_norm", f"{_ATTENTION}.q_a_layernorm", blocks=compressed),
        Weight("blk.{i}.attn_q_b", f"{_ATTENTION}.q_b_proj", blocks=compressed),
        Weight("blk.{i}.attn_kv_a_mqa", f"{_ATTENTION}.kv_a_proj_with_mqa"),
        Weight("blk.{i}.attn_kv_a_norm", f"{_ATTENTION}.kv_a_layernorm"),
        Weight("blk.{i}.attn_k_b", f"{_ATTENTION}.kv_b_proj", key_heads),
        Weight("blk.{i}.attn_v_b", f"{_ATTENTION}.kv_b_proj", value_heads),
        *_FFN_PARTS,
        Weight(
            "blk.{i}.exp_probs_b.bias",
            f"{_MLP}.gate.e_score_correction_bias",
            exact=True,
            optional=True,
        ),
    ),
    ignore=ignored_tensors,
)

DEEPSEEK3 = replace(
    DEEPSEEK2,
    hf_classes=("DeepseekV3ForCausalLM",),
    defaults={
        **DEEPSEEK2.defaults,
        "max_position_embeddings": 4096,
        "first_k_dense_replace": 3,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "n_group": 8,
        "topk_group": 4,
        "norm_topk_prob": True,
        "moe_intermediate_size": 2048,
        "routed_scaling_factor": 2.5,
        "num_nextn_predict_layers": 1,
    },
)
