"""LFM2: short convolutions in most layers, grouped-query attention in the others.

Source: llama.cpp conversion/lfm2.py LFM2Model; transformers lfm2.
"""

from typing import Any

from ggufkit.mapping.blocks import HPARAMS, KVHeads, OtherLayers, replaced
from ggufkit.mapping.config_inverse import KVHeadsByLayer
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Squeeze


def attention_blocks(config: Config) -> list[int]:
    """Return the blocks with attention."""
    types, given = config.get("layer_types"), config.get("full_attn_idxs")
    if types is not None:
        return [i for i, kind in enumerate(types) if kind != "conv"]
    return list(range(config["num_hidden_layers"])) if given is None else list(given)


def _width_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    return {"intermediate_size": value, "block_auto_adjust_ff_dim": False}


@inverse_of(_width_to_config)
def feed_forward(config: Config) -> int:
    """Return the width of the feed-forward part, which config.json may give before adjustment."""
    width = int(config.get("block_ff_dim", config.get("intermediate_size", 12288)))
    if config["block_auto_adjust_ff_dim"]:
        multiple = int(config["block_multiple_of"])
        width = int(config["block_ffn_dim_multiplier"] * int(2 * width / 3))
        width = -(-width // multiple) * multiple
    return width


_LAYER = "model.layers.{i}"
_CONV_LAYERS = OtherLayers(attention_blocks)
HEADS_KV = Hparam(
    "attention.head_count_kv",
    KVHeads(attention_blocks),
    inverse=KVHeadsByLayer("full_attention", "conv"),
)
_ATTENTION = (
    *(("attn_" + part, f"{part}_proj") for part in "qkv"),
    *(("attn_" + part + "_norm", f"{part}_layernorm") for part in "qk"),
    ("attn_output", "out_proj"),
)

LFM2 = Architecture(
    name="lfm2",
    title="LFM2 without experts",
    hf_classes=("Lfm2ForCausalLM", "LFM2ForCausalLM"),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 128000,
        "norm_eps": 1e-5,
        "rope_theta": 1_000_000.0,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
    },
    hparams=(
        *replaced(HPARAMS, HEADS_KV, Hparam("feed_forward_length", feed_forward)),
        Hparam("vocab_size", "vocab_size"),
        Hparam("shortconv.l_cache", "conv_L_cache"),
    ),
    weights=(
        Weight("token_embd", "model.embed_tokens"),
        Weight("token_embd_norm", "model.embedding_norm"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.operator_norm"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.ffn_norm"),
        Weight("blk.{i}.ffn_gate", f"{_LAYER}.feed_forward.w1"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.feed_forward.w2"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.feed_forward.w3"),
        *(
            Weight(f"blk.{{i}}.{name}", f"{_LAYER}.self_attn.{source}", in_layers=attention_blocks)
            for name, source in _ATTENTION
        ),
        Weight("blk.{i}.shortconv.conv", f"{_LAYER}.conv.conv", Squeeze(), in_layers=_CONV_LAYERS),
        *(
            Weight(f"blk.{{i}}.shortconv.{name}", f"{_LAYER}.conv.{name}", in_layers=_CONV_LAYERS)
            for name in ("in_proj", "out_proj")
        ),
    ),
    export=ExportSpec("lfm2"),
)
