"""Nomic BERT, without and with experts: rotated heads, fused projections, norms after a block."""

from __future__ import annotations

from dataclasses import replace

from ggufkit.architectures.bert import BERT
from ggufkit.errors import ConversionError
from ggufkit.mapping.blocks import replaced
from ggufkit.mapping.spec import Architecture, Config, Context, Hparam, Weight, block_count
from ggufkit.mapping.transforms import Compose, Reshape, Transform, Transpose

# Positions that config.json gives, and those that the models were trained for.
TRAINED = {8192: 2048, 2048: 512}


def has_experts(config: Config) -> bool:
    """Return whether some blocks have experts."""
    return bool(config.get("moe_every_n_layers"))


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


def expert_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    every = config["moe_every_n_layers"]
    return [i for i in range(block_count(config)) if i % every == 1]


def plain_blocks(config: Config) -> list[int]:
    """Return the other blocks."""
    experts = set(expert_blocks(config))
    return [i for i in range(block_count(config)) if i not in experts]


def stacked(context: Context) -> Transform:
    """Return the transform of experts that are one tall matrix."""
    return Reshape((context.config["num_experts"], -1, context.config["n_embd"]))


def stacked_columns(context: Context) -> Transform:
    """Return the same for experts whose rows are the columns."""
    return Compose(stacked(context), Transpose())


_LAYER = "encoder.layers.{i}"
_EXPERTS = f"{_LAYER}.mlp.experts.mlp"
_IGNORE = (
    "*embeddings.position_ids",
    "*pooler.dense.*",
    "cls.predictions*",
    "cls.seq_relationship*",
)
_COMMON = (
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
    hf_classes=("NomicBertModel",),
    tokenizer="bert",
    defaults={"layer_norm_epsilon": 1e-5, "rotary_emb_base": 10000.0, "type_vocab_size": 2},
    hparams=replaced(BERT.hparams, Hparam("context_length", trained_context)),
    weights=(
        *_COMMON,
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.fc11"),
        Weight("blk.{i}.ffn_gate", f"{_LAYER}.mlp.fc12"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.fc2"),
    ),
    rename=BERT.rename,
    ignore=_IGNORE,
)

NOMIC_BERT_MOE = replace(
    NOMIC_BERT,
    name="nomic-bert-moe",
    when=has_experts,
    tokenizer="nomic_moe",
    hparams=(
        *NOMIC_BERT.hparams,
        Hparam("moe_every_n_layers", "moe_every_n_layers"),
        Hparam("expert_used_count", "moe_top_k"),
    ),
    weights=(
        *_COMMON,
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.fc1", blocks=plain_blocks),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.fc2", blocks=plain_blocks),
        Weight("blk.{i}.ffn_gate_inp", f"{_LAYER}.mlp.router.layer", blocks=expert_blocks),
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_exps.weight",
                f"{_EXPERTS}.{source}",
                transform,
                blocks=expert_blocks,
                exact=True,
            )
            for part, source, transform in (("up", "w1", stacked), ("down", "w2", stacked_columns))
        ),
    ),
    # the sum of the experts' biases, which llama.cpp leaves out
    ignore=(*_IGNORE, "*.mlp.experts.bias"),
)
