"""StarCoder (multi-query, learned positions) and StarCoder 2 (grouped queries, rope)."""

from dataclasses import replace

from ggufkit.architectures.gpt2 import GPT2
from ggufkit.mapping.blocks import BARE, HPARAMS, decoder, without
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Hparam, Weight

STARCODER = replace(
    GPT2,
    name="starcoder",
    hf_classes=("GPTBigCodeForCausalLM",),
    hparams=(
        Hparam("context_length", "n_positions"),
        Hparam("embedding_length", "n_embd"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["n_embd"])),
        Hparam("block_count", "n_layer"),
        Hparam("attention.head_count", "n_head"),
        Hparam("attention.head_count_kv", lambda _: 1),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        FILE_TYPE,
    ),
    # stored the usual way, unlike GPT-2's
    weights=tuple(Weight(w.name, w.source, optional=w.optional) for w in GPT2.weights),
)

_MLP = "model.layers.{i}.mlp"

STARCODER2 = Architecture(
    name="starcoder2",
    hf_classes=("Starcoder2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": 2,
    },
    hparams=HPARAMS,
    weights=(
        *without(decoder(), "ffn_gate", "ffn_up", "ffn_down"),
        Weight("blk.{i}.ffn_up", f"{_MLP}.c_fc"),
        Weight("blk.{i}.ffn_down", f"{_MLP}.c_proj"),
    ),
    rename=BARE,
)
