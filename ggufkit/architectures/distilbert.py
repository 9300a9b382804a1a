"""DistilBERT: BERT with half of the blocks, no token types, and names of its own."""

from __future__ import annotations

from ggufkit.architectures.bert import BERT
from ggufkit.mapping.spec import Architecture, Hparam, Weight

_LAYER = "transformer.layer.{i}"

DISTILBERT = Architecture(
    name="bert",
    hf_classes=(
        "DistilBertModel",
        "DistilBertForMaskedLM",
        "DistilBertForSequenceClassification",
    ),
    tokenizer="bert",
    defaults={
        "max_position_embeddings": 512,
        "dim": 768,
        "hidden_dim": 3072,
        "n_layers": 6,
        "n_heads": 12,
    },
    # config.json does not have the epsilon: it is part of the model's code
    hparams=(Hparam("attention.layer_norm_epsilon", lambda _: 1e-12), *BERT.hparams),
    weights=(
        Weight("token_embd", "embeddings.word_embeddings"),
        Weight("position_embd", "embeddings.position_embeddings"),
        Weight("token_embd_norm", "embeddings.LayerNorm"),
        Weight("blk.{i}.attn_q", f"{_LAYER}.attention.q_lin"),
        Weight("blk.{i}.attn_k", f"{_LAYER}.attention.k_lin"),
        Weight("blk.{i}.attn_v", f"{_LAYER}.attention.v_lin"),
        Weight("blk.{i}.attn_output", f"{_LAYER}.attention.out_lin"),
        Weight("blk.{i}.attn_output_norm", f"{_LAYER}.sa_layer_norm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.ffn.lin1"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.ffn.lin2"),
        Weight("blk.{i}.layer_output_norm", f"{_LAYER}.output_layer_norm"),
        Weight("cls", "pre_classifier", optional=True),
        Weight("cls.output", "classifier.out_proj", optional=True),
    ),
    rename=((r"^distilbert\.", ""), (r"^classifier\.(?!out_proj)", "classifier.out_proj.")),
    ignore=("vocab_*", "*embeddings.position_ids"),
)
