"""MPT: ALiBi instead of RoPE, fused projections.

Source: llama.cpp conversion/mpt.py MPTModel; transformers mpt.
"""

from typing import Any

from ggufkit.mapping.config_inverse import shortest_decimal
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Always, Architecture, Config, ExportSpec, Hparam, Weight

# What transformers assumes where attn_config is silent.
ATTENTION = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None, "kv_n_heads": None}


def attention(config: Config) -> dict[str, Any]:
    """Return the settings of attention."""
    return {**ATTENTION, **(config.get("attn_config") or {})}


@inverse_of("attn_config.kv_n_heads")
def kv_heads(config: Config) -> int | None:
    """Return the heads of keys and values, where they are fewer than the queries'."""
    return attention(config)["kv_n_heads"] or None


@inverse_of("attn_config.clip_qkv")
def clamp(config: Config) -> float | None:
    """Return what queries, keys and values are clipped to."""
    given = attention(config)["clip_qkv"]
    return None if given is None else float(given)


def _alibi_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    if not value:
        return {"attn_config.alibi": False}
    most = int(value) if value == int(value) else shortest_decimal(value)
    return {"attn_config.alibi": True, "attn_config.alibi_bias_max": most}


@inverse_of(_alibi_to_config)
def alibi_bias(config: Config) -> float:
    """Return the largest ALiBi bias; 0 without ALiBi."""
    given = attention(config)
    return float(given["alibi_bias_max"]) if given["alibi"] else 0.0


_BLOCK = "transformer.blocks.{i}"

# llama.cpp's converter gives this architecture no general.file_type.
MPT = Architecture(
    name="mpt",
    title="MPT",
    hf_classes=("MPTForCausalLM", "MptForCausalLM"),
    tokenizer="gpt2",
    defaults={"max_seq_len": 2048},
    hparams=(
        Hparam("context_length", "max_seq_len"),
        Hparam("embedding_length", "d_model"),
        Hparam("block_count", "n_layers"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["d_model"])),
        Hparam("attention.head_count", "n_heads"),
        Hparam("attention.head_count_kv", kv_heads),
        Hparam("attention.layer_norm_epsilon", Always(1e-5)),
        Hparam("attention.clamp_kqv", clamp),
        Hparam("attention.max_alibi_bias", alibi_bias),
    ),
    weights=(
        Weight("token_embd", "transformer.wte"),
        Weight("position_embd", "transformer.wpe", optional=True),
        Weight("output_norm", "transformer.norm_f"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_BLOCK}.norm_1"),
        Weight("blk.{i}.attn_qkv", f"{_BLOCK}.attn.Wqkv"),
        Weight("blk.{i}.attn_q_norm", f"{_BLOCK}.attn.q_ln", optional=True),
        Weight("blk.{i}.attn_k_norm", f"{_BLOCK}.attn.k_ln", optional=True),
        Weight("blk.{i}.attn_output", f"{_BLOCK}.attn.out_proj"),
        Weight("blk.{i}.ffn_norm", f"{_BLOCK}.norm_2"),
        Weight("blk.{i}.ffn_up", f"{_BLOCK}.ffn.up_proj"),
        Weight("blk.{i}.ffn_down", f"{_BLOCK}.ffn.down_proj"),
    ),
    export=ExportSpec("mpt"),
)
