"""EXAONE 4 and 4.5: norms after each part, QK-norm, sliding-window attention in 3 of 4 layers.

Source: llama.cpp conversion/exaone.py Exaone4Model, Exaone4_5_TextModel; transformers
exaone4, exaone4_5.
"""

from dataclasses import replace

from ggufkit.architectures.glm4moe import mtp_layers, n_layers_with_mtp
from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.mapping.blocks import (
    HPARAMS,
    QK_NORMS,
    decoder,
    default_head_dim,
    replaced,
    sliding_layers,
    without,
)
from ggufkit.mapping.computed import LLAMA3_FACTORS
from ggufkit.mapping.config_inverse import LayerTypes
from ggufkit.mapping.model_header import HasHparam, ModelHeader, Not, Renames, inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, NonZero, Weight


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


def mtp_names(config: Config) -> Renames:
    """Return the renames of the checkpoint's MTP layers, which count from 0."""
    return tuple(
        (rf"^mtp\.layers\.{number}\.", f"model.layers.{block}.")
        for number, block in enumerate(mtp_layers(config))
    )


def own_mtp_names(header: ModelHeader) -> Renames:
    """Return the renames back."""
    n = int(header.hparams.get("nextn_predict_layers", 0))
    first = int(header.hparams["block_count"]) - n
    return tuple((rf"^model\.layers\.{first + i}\.", f"mtp.layers.{i}.") for i in range(n))


_LAYER = "model.layers.{i}"
_HAS_HEAD_DIM = HasHparam("attention.key_length")

# all MTP blocks share them
MTP_WEIGHTS = tuple(
    Weight(f"blk.{{i}}.nextn.{name}", f"mtp.{source}", in_layers=mtp_layers)
    for name, source in (
        ("eh_proj", "fc"),
        ("enorm", "pre_fc_norm_embedding"),
        ("hnorm", "pre_fc_norm_hidden"),
        ("shared_head_norm", "norm"),
    )
)

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
    export=ExportSpec("exaone4", matches=_HAS_HEAD_DIM),
)


def _text_names(config: Config) -> Renames:
    return (*RENAME, *mtp_names(config))


def _own_text_names(header: ModelHeader) -> Renames:
    return (*own_mtp_names(header), (r"^model\.", "model.language_model."))


EXAONE4_5 = replace(
    EXAONE4,
    title="EXAONE 4.5, its text part",
    hf_classes=("Exaone4_5_ForConditionalGeneration",),
    # unlike EXAONE 4's, its config knows no head_dim unless config.json gives one
    defaults={k: v for k, v in EXAONE4.defaults.items() if k != "head_dim"},
    hparams=(
        *replaced(EXAONE4.hparams, Hparam("block_count", n_layers_with_mtp)),
        Hparam("nextn_predict_layers", NonZero("num_nextn_predict_layers")),
    ),
    weights=(*EXAONE4.weights, *MTP_WEIGHTS),
    rename=_text_names,
    ignore=OTHER_PARTS,
    export=ExportSpec(
        "exaone4", nested="exaone4_5", rename=_own_text_names, matches=Not(_HAS_HEAD_DIM)
    ),
)
