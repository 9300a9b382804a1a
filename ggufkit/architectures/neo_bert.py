"""NeoBERT: an encoder with RoPE, RMSNorm and fused projections, two thirds of a feed-forward width.

Source: llama.cpp conversion/bert.py NeoBert; the modeling code in the model's repository.
"""

from typing import Any

from ggufkit.architectures.bert import labels
from ggufkit.mapping import rope
from ggufkit.mapping.blocks import HPARAMS, POOLING, replaced
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Always, Architecture, Config, ExportSpec, Hparam, Weight


def _width_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    return {"intermediate_size": -(-3 * int(value) // 2)}


@inverse_of(_width_to_config)
def two_thirds(config: Config) -> int:
    """Return the width of the feed-forward part: two thirds of what config.json says."""
    return int(2 * config["intermediate_size"] / 3)


_LAYER = "transformer_encoder.{i}"

NEO_BERT = Architecture(
    name="neo-bert",
    title="NeoBERT",
    hf_classes=("NeoBERT", "NeoBERTLMHead", "NeoBERTForSequenceClassification"),
    tokenizer="bert",
    defaults={"norm_eps": 1e-6},
    hparams=(
        *replaced(HPARAMS, Hparam("feed_forward_length", two_thirds)),
        Hparam("attention.causal", Always(False)),
        *POOLING,
        Hparam("classifier.output_labels", labels),
        Hparam("rope.freq_base", Always(10000.0)),
        Hparam("rope.scaling.type", rope.unscaled),
        Hparam("attention.layer_norm_rms_epsilon", "norm_eps"),
        Hparam("pooling_type", Always(2)),
    ),
    weights=(
        Weight("token_embd", "encoder"),
        Weight("enc.output_norm", "layer_norm"),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.attention_norm"),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.qkv"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.wo"),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.ffn_norm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.ffn.w12"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.ffn.w3"),
        Weight("cls", "dense", optional=True),
        Weight("cls.output", "classifier", optional=True),
    ),
    rename=((r"^model\.", ""),),
    # what fills in masked tokens, which is no embedding's
    ignore=("decoder.*",),
    export=ExportSpec(
        "neobert",
        task_heads=(("cls.output.weight", "NeoBERTForSequenceClassification", "model."),),
    ),
)
