"""Phi 1.5 and 2: attention and feed-forward in parallel.

Source: llama.cpp conversion/phi.py Phi2Model; transformers phi.
"""

from ggufkit.mapping import rope
from ggufkit.mapping.blocks import decoder, only
from ggufkit.mapping.config_inverse import RotaryShare, default_head_dim_of
from ggufkit.mapping.model_header import HparamValue, inverse_of
from ggufkit.mapping.spec import FILE_TYPE, Always, Architecture, Config, ExportSpec, Hparam, Weight


@inverse_of(RotaryShare("partial_rotary_factor", default_head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    part = rope.full(config).get("partial_rotary_factor", 1.0)
    return int(part * config["hidden_size"]) // int(config["num_attention_heads"])


_LAYER = "model.layers.{i}"

PHI2 = Architecture(
    name="phi2",
    title="Phi 1.5, 2",
    hf_classes=("PhiForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "partial_rotary_factor": 0.5,
    },
    hparams=(
        Hparam("context_length", ("n_positions", "max_position_embeddings")),
        Hparam("embedding_length", "hidden_size"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["hidden_size"])),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("attention.head_count_kv", "num_attention_heads"),
        Hparam("attention.layer_norm_epsilon", ("layer_norm_epsilon", "layer_norm_eps")),
        Hparam("rope.dimension_count", rope_dim),
        FILE_TYPE,
        Hparam("tokenizer.ggml.add_bos_token", Always(False)),
    ),
    weights=(
        *only(decoder(), "token_embd", "output", "attn_norm", "attn_q", "attn_k", "attn_v"),
        Weight("output_norm", "model.final_layernorm"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.self_attn.dense"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.fc1"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.fc2"),
    ),
    export=ExportSpec("phi", config={"intermediate_size": HparamValue("feed_forward_length")}),
)
