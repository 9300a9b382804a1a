"""BERT, RoBERTa, XLM-R and DistilBERT: bidirectional encoders for embeddings.

Source: llama.cpp conversion/bert.py BertModel, RobertaModel, XLMRobertaModel, DistilBertModel;
transformers bert, roberta, xlm_roberta, distilbert.
"""

from dataclasses import replace
from typing import Any

from ggufkit.mapping.blocks import HPARAMS, POOLING, changed, replaced
from ggufkit.mapping.model_header import (
    ConfigValues,
    HasTensor,
    HasTokenizer,
    ModelHeader,
    Not,
    RowCount,
    inverse_of,
)
from ggufkit.mapping.row_transforms import SkipRows
from ggufkit.mapping.spec import Always, Architecture, Config, Context, ExportSpec, Hparam, Weight


def _labels_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    # the keys are sorted as text on the way there
    keys = sorted(str(i) for i in range(len(value)))
    return {"id2label": dict(sorted(zip(keys, value, strict=True), key=lambda kv: int(kv[0])))}


@inverse_of(_labels_to_config)
def labels(config: Config) -> list[str] | None:
    """Return a classifier's labels, unless they are the two that transformers makes up."""
    names = config.get("id2label") or {}
    ordered = [name for _, name in sorted(names.items())]
    return None if ordered in ([], ["LABEL_0", "LABEL_1"]) else ordered


_OLD_NORMS = ((r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))

_LAYER = "encoder.layer.{i}"
TOKEN_TYPES = {"type_vocab_size": RowCount("token_types.weight")}

# llama.cpp counts positions itself; the rest is for tasks that it doesn't do
IGNORE = (
    "*embeddings.position_ids",
    "*pooler.dense.*",
    "cls.predictions*",
    "cls.seq_relationship*",
)

BERT = Architecture(
    name="bert",
    title="BERT, BGE, GTE, MiniLM",
    hf_classes=("BertModel", "BertForMaskedLM", "BertForSequenceClassification"),
    tokenizer="bert",
    defaults={"max_position_embeddings": 512, "layer_norm_eps": 1e-12, "type_vocab_size": 2},
    hparams=(
        *HPARAMS,
        Hparam("attention.causal", Always(False)),
        *POOLING,
        Hparam("classifier.output_labels", labels),
    ),
    weights=(
        Weight("token_embd", "embeddings.word_embeddings"),
        Weight("position_embd", "embeddings.position_embeddings"),
        Weight("token_types", "embeddings.token_type_embeddings"),
        Weight("token_embd_norm", "embeddings.LayerNorm"),
        Weight("blk.{i}.attn_q", f"{_LAYER}.attention.self.query"),
        Weight("blk.{i}.attn_k", f"{_LAYER}.attention.self.key"),
        Weight("blk.{i}.attn_v", f"{_LAYER}.attention.self.value"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.attention.output.dense"),
        Weight("blk.{i}.attn_output_norm", f"{_LAYER}.attention.output.LayerNorm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.intermediate.dense"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.output.dense"),
        Weight("blk.{i}.layer_output_norm", f"{_LAYER}.output.LayerNorm"),
        Weight("cls.output", "classifier", optional=True),
    ),
    rename=((r"^bert\.", ""), *_OLD_NORMS),
    ignore=IGNORE,
    export=ExportSpec(
        "bert",
        matches=HasTokenizer("bert"),
        task_heads=(("cls.output.weight", "BertForSequenceClassification", "bert."),),
        config=TOKEN_TYPES,
    ),
)


def n_unused_positions(config: Config) -> int:
    """Return how many position embeddings come before the first that is used."""
    padding = config.get("pad_token_id")
    return 0 if padding is None else int(padding) + 1


def used_positions(context: Context) -> SkipRows:
    """Return the transform that drops the positions that no token has."""
    return SkipRows(n_unused_positions(context.config))


def _context_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    padding = header.ids.get("pad", 1)
    return {"max_position_embeddings": value + padding + 1, "pad_token_id": padding}


@inverse_of(_context_to_config)
def used_context(config: Config) -> int:
    """Return the number of positions that tokens have."""
    return int(config["max_position_embeddings"]) - n_unused_positions(config)


ROBERTA = replace(
    BERT,
    title="RoBERTa",
    hf_classes=("RobertaModel", "RobertaForSequenceClassification"),
    tokenizer="roberta",
    defaults={**BERT.defaults, "pad_token_id": 1},
    hparams=replaced(BERT.hparams, Hparam("context_length", used_context)),
    weights=(
        *changed(BERT.weights, "position_embd", transform=used_positions),
        Weight("cls", "classifier.dense", optional=True),
        Weight("cls.output", "classifier.out_proj", optional=True),
    ),
    rename=((r"^roberta\.", ""), *_OLD_NORMS),
    export=ExportSpec(
        "roberta",
        config=TOKEN_TYPES,
        requires_tensor={"classifier.out_proj": "cls.weight"},
        matches=HasTokenizer("gpt2"),
        task_heads=(("cls.output.weight", "RobertaForSequenceClassification", "roberta."),),
    ),
)

XLM_ROBERTA = replace(
    ROBERTA,
    title="XLM-R, BGE-M3, multilingual E5",
    hf_classes=("XLMRobertaModel", "XLMRobertaForSequenceClassification"),
    tokenizer="xlm_roberta",
    export=ExportSpec(
        "xlm-roberta",
        config=TOKEN_TYPES,
        requires_tensor={"classifier.out_proj": "cls.weight"},
        matches=HasTokenizer("t5"),
        task_heads=(("cls.output.weight", "XLMRobertaForSequenceClassification", "roberta."),),
    ),
)

_DISTILBERT_LAYER = "transformer.layer.{i}"

DISTILBERT = Architecture(
    name="bert",
    title="DistilBERT",
    hf_classes=("DistilBertModel", "DistilBertForMaskedLM", "DistilBertForSequenceClassification"),
    tokenizer="bert",
    defaults={
        "max_position_embeddings": 512,
        "dim": 768,
        "hidden_dim": 3072,
        "n_layers": 6,
        "n_heads": 12,
    },
    # config.json does not have the epsilon: it is part of the model's code
    hparams=(Hparam("attention.layer_norm_epsilon", Always(1e-12)), *BERT.hparams),
    weights=(
        Weight("token_embd", "embeddings.word_embeddings"),
        Weight("position_embd", "embeddings.position_embeddings"),
        Weight("token_embd_norm", "embeddings.LayerNorm"),
        Weight("blk.{i}.attn_q", f"{_DISTILBERT_LAYER}.attention.q_lin"),
        Weight("blk.{i}.attn_k", f"{_DISTILBERT_LAYER}.attention.k_lin"),
        Weight("blk.{i}.attn_v", f"{_DISTILBERT_LAYER}.attention.v_lin"),
        Weight("blk.{i}.attn_output", f"{_DISTILBERT_LAYER}.attention.out_lin"),
        Weight("blk.{i}.attn_output_norm", f"{_DISTILBERT_LAYER}.sa_layer_norm"),
        Weight("blk.{i}.ffn_up", f"{_DISTILBERT_LAYER}.ffn.lin1"),
        Weight("blk.{i}.ffn_down", f"{_DISTILBERT_LAYER}.ffn.lin2"),
        Weight("blk.{i}.layer_output_norm", f"{_DISTILBERT_LAYER}.output_layer_norm"),
        Weight("cls", "pre_classifier", optional=True),
        Weight("cls.output", "classifier.out_proj", optional=True),
    ),
    rename=((r"^distilbert\.", ""), (r"^classifier\.(?!out_proj)", "classifier.out_proj.")),
    # the part that fills in masked tokens; llama.cpp counts positions itself
    ignore=("vocab_*", "*embeddings.position_ids"),
    export=ExportSpec(
        "distilbert",
        task_heads=(("cls.output.weight", "DistilBertForSequenceClassification", "distilbert."),),
        rename=((r"^classifier\.out_proj\.", "classifier."),),
        matches=Not(HasTensor("token_types.weight")),
    ),
)
