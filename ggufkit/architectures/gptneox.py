"""GPT-NeoX and Pythia: queries, keys and values fused head by head.

Source: llama.cpp conversion/gptneox.py GPTNeoXModel; transformers gpt_neox.
"""

from ggufkit.mapping.blocks import default_head_dim
from ggufkit.mapping.config_inverse import RotaryShare, default_head_dim_of
from ggufkit.mapping.model_header import inverse_of
from ggufkit.mapping.rope import full
from ggufkit.mapping.row_transforms import UnfuseGroups
from ggufkit.mapping.spec import Architecture, Config, Context, ExportSpec, Hparam, Weight


@inverse_of("n_head")
def n_heads(config: Config) -> int:
    """Return the heads."""
    return int(config["n_head"] if "n_head" in config else config["num_attention_heads"])


def regroup(context: Context) -> UnfuseGroups:
    """Return the order of fused queries, keys and values, which come head by head."""
    config = context.config
    width = config["hidden_size"] if "hidden_size" in config else config["n_embed"]
    head_dim = int(width) // n_heads(config)
    return UnfuseGroups((head_dim,) * 3, (0, 1, 2))


@inverse_of(RotaryShare("rotary_pct", default_head_dim_of))
def rope_dim(config: Config) -> int:
    """Return the dimensions of a head that are rotated."""
    part = config.get("rotary_pct", full(config).get("partial_rotary_factor", 0.25))
    return int(part * default_head_dim(config))


_LAYER = "gpt_neox.layers.{i}"
AROUND = (
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
)

GPTNEOX = Architecture(
    name="gptneox",
    title="GPT-NeoX, Pythia",
    hf_classes=("GPTNeoXForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-5,
        "use_parallel_residual": True,
    },
    # llama.cpp's converter writes no file type
    hparams=(
        Hparam("context_length", "max_position_embeddings"),
        Hparam("embedding_length", "hidden_size"),
        Hparam("block_count", "num_hidden_layers"),
        Hparam("feed_forward_length", "intermediate_size"),
        Hparam("rope.dimension_count", rope_dim),
        Hparam("attention.head_count", "num_attention_heads"),
        Hparam("use_parallel_residual", "use_parallel_residual"),
        Hparam("attention.layer_norm_epsilon", "layer_norm_eps"),
    ),
    weights=(
        Weight("token_embd", "gpt_neox.embed_in"),
        Weight("output_norm", "gpt_neox.final_layer_norm"),
        Weight("output", "embed_out", optional=True),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.attention.query_key_value", regroup),
        Weight("blk.{i}.attn_output", f"{_LAYER}.attention.dense"),
        *(Weight(f"blk.{{i}}.{name}", f"{_LAYER}.{source}") for name, source in AROUND),
    ),
    # causal masks of older checkpoints
    ignore=("*.attention.bias", "*.attention.masked_bias"),
    export=ExportSpec("gpt_neox"),
)
