"""EXAONE 4: norms after each part, QK-norm, sliding-window attention in 3 of 4 layers.

Source: llama.cpp conversion/exaone.py Exaone4Model; transformers exaone4.
"""

from ggufkit.mapping.blocks import (
    HPARAMS,
    QK_NORMS,
    decoder,
    default_head_dim,
    sliding_layers,
    without,
)
from ggufkit.mapping.computed import LLAMA3_FACTORS
from ggufkit.mapping.config_inverse import LayerTypes
from ggufkit.mapping.model_header import inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, Weight


@inverse_of(LayerTypes("sliding_attention", "full_attention"))
def windowed(config: Config) -> list[bool] | None:
    """Return which layers attend to a window only, from their types or a pattern like LLLG."""
    if config.get("sliding_window") is None:
        return None
    pattern, n = config.get("sliding_window_pattern"), config["num_hidden_layers"]
    listed = sliding_layers(config)
    if listed is None and isinstance(pattern, str):
        return [pattern[i % len(pattern)] == "L" for i in range(n)]
    if listed is None and isinstance(pattern, int):
        return [(i + 1) % pattern != 0 for i in range(n)]
    return listed


_LAYER = "model.layers.{i}"

EXAONE4 = Architecture(
    name="exaone4",
    title="EXAONE 4",
    hf_classes=("Exaone4ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": 32,
        "head_dim": default_head_dim,
        "sliding_window_pattern": 4,
    },
    hparams=(
        *HPARAMS,
        Hparam("vocab_size", "vocab_size"),
        Hparam("attention.sliding_window", "sliding_window"),
        Hparam("attention.sliding_window_pattern", windowed),
    ),
    weights=(
        *without(decoder(), "attn_norm", "ffn_norm"),
        Weight("blk.{i}.post_attention_norm", f"{_LAYER}.post_attention_layernorm"),
        Weight("blk.{i}.post_ffw_norm", f"{_LAYER}.post_feedforward_layernorm"),
        *QK_NORMS,
    ),
    computed=LLAMA3_FACTORS,
    export=ExportSpec("exaone4"),
)
