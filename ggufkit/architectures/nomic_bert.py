"""Nomic Embed v1 and v1.5: BERT with RoPE, fused projections and norms after a block.

Source: llama.cpp conversion/bert.py NomicBertModel; the modeling code in the models' repositories.
"""

from typing import Any

from ggufkit.architectures.bert import BERT, IGNORE, TOKEN_TYPES
from ggufkit.errors import ConversionError
from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.model_header import (
    Choose,
    ConfigValues,
    HasTensor,
    HparamValue,
    ModelHeader,
    inverse_of,
)
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, Weight

# Positions that config.json gives, and those that the models were trained for.
TRAINED = {8192: 2048, 2048: 512}


def _context_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    positions = {trained: given for given, trained in TRAINED.items()}
    return {"n_positions": positions[value]} if value in positions else {}


@inverse_of(_context_to_config)
def trained_context(config: Config) -> int:
    """Return the number of positions that the model was trained for.

    Raises
    ------
    ConversionError
        It is neither version 1 nor 2.
    """
    positions, trained = config["n_positions"], config.get("max_trained_positions", 2048)
    if trained != 2048 or positions not in TRAINED:
        raise ConversionError(
            f"config.json: n_positions {positions} and max_trained_positions {trained} are of no "
            "Nomic BERT that llama.cpp knows"
        )
    return TRAINED[positions]


_LAYER = "encoder.layers.{i}"
COMMON_WEIGHTS = (
    Weight("token_embd", "embeddings.word_embeddings"),
    Weight("token_types", "embeddings.token_type_embeddings"),
    Weight("token_embd_norm", "emb_ln"),
    Weight("blk.{i}.attn_qkv", f"{_LAYER}.attn.Wqkv"),
    Weight("blk.{i}.attn_output", f"{_LAYER}.attn.out_proj"),
    Weight("blk.{i}.attn_output_norm", f"{_LAYER}.norm1"),
    Weight("blk.{i}.layer_output_norm", f"{_LAYER}.norm2"),
)

NOMIC_BERT = Architecture(
    name="nomic-bert",
    title="Nomic Embed v1, v1.5",
    hf_classes=("NomicBertModel",),
    tokenizer="bert",
    defaults={"layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000.0, "type_vocab_size": 2},
    hparams=replaced(BERT.hparams, Hparam("context_length", trained_context)),
    weights=(
        *COMMON_WEIGHTS,
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.fc11"),
        Weight("blk.{i}.ffn_gate", f"{_LAYER}.mlp.fc12"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.fc2"),
    ),
    rename=BERT.rename,
    ignore=IGNORE,
    export=ExportSpec(
        "nomic_bert",
        config={
            **TOKEN_TYPES,
            "activation_function": Choose(HasTensor("ffn_gate.weight"), "swiglu", "gelu"),
            "causal": False,
            "prenorm": False,
            "rotary_emb_base": HparamValue("rope.freq_base"),
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "max_trained_positions": 2048,
            "qkv_proj_bias": HasTensor("attn_qkv.bias"),
            "mlp_fc1_bias": HasTensor("ffn_up.bias"),
            "mlp_fc2_bias": HasTensor("ffn_down.bias"),
            "num_experts": HparamValue("expert_count"),
            "n_embd": HparamValue("embedding_length"),
            "n_head": HparamValue("attention.head_count"),
            "n_layer": HparamValue("block_count"),
            "n_inner": HparamValue("feed_forward_length"),
        },
    ),
)
