"""Nomic Embed v2: Nomic BERT with experts in every other block.

Source: llama.cpp conversion/bert.py NomicBertModel; the modeling code in the models' repositories.
"""

from dataclasses import replace

from ggufkit.architectures.bert import IGNORE
from ggufkit.architectures.nomic_bert import COMMON_WEIGHTS, NOMIC_BERT
from ggufkit.mapping.blocks import OtherLayers, stacked_experts
from ggufkit.mapping.spec import Config, Context, Hparam, Weight, block_count
from ggufkit.mapping.transforms import Compose, Reshape, Transform, Transpose


def has_experts(config: Config) -> bool:
    """Return whether some blocks have experts."""
    return bool(config.get("moe_every_n_layers"))


def expert_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    every = config["moe_every_n_layers"]
    return [i for i in range(block_count(config)) if i % every == 1]


def stacked(context: Context) -> Transform:
    """Return the transform of experts that are one tall matrix."""
    return Reshape((context.config["num_experts"], -1, context.config["n_embd"]))


def stacked_columns(context: Context) -> Transform:
    """Return the same for experts whose rows are the columns."""
    return Compose(stacked(context), Transpose())


_LAYER = "encoder.layers.{i}"
_EXPERTS = f"{_LAYER}.mlp.experts.mlp"

NOMIC_BERT_MOE = replace(
    NOMIC_BERT,
    name="nomic-bert-moe",
    title="Nomic Embed v2, with experts",
    matches=has_experts,
    tokenizer="nomic_moe",
    hparams=(
        *NOMIC_BERT.hparams,
        Hparam("moe_every_n_layers", "moe_every_n_layers"),
        Hparam("expert_used_count", "moe_top_k"),
    ),
    weights=(
        *COMMON_WEIGHTS,
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.fc1", in_layers=OtherLayers(expert_blocks)),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.fc2", in_layers=OtherLayers(expert_blocks)),
        Weight("blk.{i}.ffn_gate_inp", f"{_LAYER}.mlp.router.layer", in_layers=expert_blocks),
        *stacked_experts(
            _EXPERTS,
            (("up", "w1", stacked), ("down", "w2", stacked_columns)),
            in_layers=expert_blocks,
        ),
    ),
    # the sum of the experts' biases, which llama.cpp leaves out
    ignore=(*IGNORE, "*.mlp.experts.bias"),
)
