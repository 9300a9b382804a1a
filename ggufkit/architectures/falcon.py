"""Falcon: fused queries, keys and values, which llama.cpp wants regrouped.

Source: llama.cpp conversion/falcon.py FalconModel; transformers falcon.
"""

from ggufkit.mapping.model_header import HasTensor, inverse_of
from ggufkit.mapping.row_transforms import UnfuseGroups
from ggufkit.mapping.spec import (
    FILE_TYPE,
    Always,
    Architecture,
    Config,
    Context,
    ExportSpec,
    Hparam,
    Weight,
)


@inverse_of("num_attention_heads")
def n_heads(config: Config) -> int:
    """Return the heads of queries."""
    given = config.get("num_attention_heads")
    return int(config["n_head"] if given is None else given)


@inverse_of("num_kv_heads")
def n_heads_kv(config: Config) -> int:
    """Return the heads of keys and values."""
    given = config.get("num_kv_heads")
    return int(config.get("n_head_kv", 1) if given is None else given)


def regroup(context: Context) -> UnfuseGroups:
    """Return the order of fused queries, keys and values."""
    heads, heads_kv = n_heads(context.config), n_heads_kv(context.config)
    head_dim = int(context.config["hidden_size"]) // heads
    return UnfuseGroups((heads // heads_kv * head_dim, head_dim, head_dim), (0, 1, 2))


_LAYER = "transformer.h.{i}"

FALCON = Architecture(
    name="falcon",
    title="Falcon 7B, 40B, 180B",
    hf_classes=("FalconForCausalLM", "RWForCausalLM"),
    tokenizer="gpt2",
    defaults={"layer_norm_epsilon": 1e-5},
    hparams=(
        Hparam("context_length", Always(2048)),  # of all of them, and not in config.json
        Hparam("tensor_data_layout", Always("jploski")),
        Hparam("embedding_length", "hidden_size"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["hidden_size"])),
        Hparam("block_count", ("n_layers", "num_hidden_layers", "n_layer")),
        Hparam("attention.head_count", n_heads),
        Hparam("attention.head_count_kv", n_heads_kv),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        FILE_TYPE,
    ),
    weights=(
        Weight("token_embd", "transformer.word_embeddings"),
        Weight("output_norm", "transformer.ln_f"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.input_layernorm", optional=True),
        # 40B and 180B norm the attention and the feed-forward part apart
        Weight("blk.{i}.attn_norm", f"{_LAYER}.ln_mlp", optional=True),
        Weight("blk.{i}.attn_norm_2", f"{_LAYER}.ln_attn", optional=True),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.self_attention.query_key_value", regroup),
        Weight("blk.{i}.attn_output", f"{_LAYER}.self_attention.dense"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.dense_h_to_4h"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.dense_4h_to_h"),
    ),
    export=ExportSpec(
        "falcon",
        config={"new_decoder_architecture": HasTensor("attn_norm_2.weight")},
        requires_tensor={"transformer.h.{i}.ln_mlp": "attn_norm_2.weight"},
    ),
)
