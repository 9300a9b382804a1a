"""Jina embeddings v2: a gated BERT with ALiBi; its code model has QK-norm.

Source: llama.cpp conversion/bert.py JinaBertV2Model; the modeling code in the models'
repositories.
"""

from dataclasses import replace

from ggufkit.architectures.bert import BERT, TOKEN_TYPES
from ggufkit.mapping.blocks import without
from ggufkit.mapping.spec import ExportSpec, Weight

_LAYER = "encoder.layer.{i}"

# Gates and ups are one tensor in the checkpoint, and in the file. The names of the feed-forward
# part and of its norm are those of the first models, and of the later ones.
JINA_BERT_V2 = replace(
    BERT,
    name="jina-bert-v2",
    title="Jina embeddings v2",
    hf_classes=("JinaBertModel", "JinaBertForMaskedLM"),
    tokenizer="jina",
    weights=(
        *without(BERT.weights, "position_embd", "ffn_up", "ffn_down", "layer_output_norm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.gated_layers"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.wo"),
        Weight("blk.{i}.layer_output_norm", f"{_LAYER}.mlp.layernorm"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.up_gated_layer"),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.down_layer"),
        Weight("blk.{i}.layer_output_norm", f"{_LAYER}.layer_norm_2"),
        Weight("blk.{i}.attn_norm_2", f"{_LAYER}.layer_norm_1", optional=True),
        Weight("blk.{i}.attn_q_norm", f"{_LAYER}.attention.self.layer_norm_q", optional=True),
        Weight("blk.{i}.attn_k_norm", f"{_LAYER}.attention.self.layer_norm_k", optional=True),
    ),
    export=ExportSpec(
        "bert",
        config={**TOKEN_TYPES, "position_embedding_type": "alibi", "feed_forward_type": "geglu"},
        requires_tensor={
            f"{_LAYER}.mlp.up_gated_layer": "attn_norm_2.weight",
            f"{_LAYER}.mlp.down_layer": "attn_norm_2.weight",
            f"{_LAYER}.layer_norm_2": "attn_norm_2.weight",
        },
    ),
)
