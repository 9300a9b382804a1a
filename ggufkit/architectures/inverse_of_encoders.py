"""What a checkpoint says that its GGUF file does not, of models that make embeddings, and of T5."""

from __future__ import annotations

from collections.abc import Mapping

from ggufkit.mapping.export_spec import ExportSpec, either, has, hparam, lacks, rows, tokenizer

_T5 = {
    "encoder.block.{i}.layer1.DenseReluDense.wi_1": "ffn_gate.weight",
    "decoder.block.{i}.layer2.DenseReluDense.wi_1": "ffn_gate.weight",
}
_T5_CONFIG = {
    "feed_forward_proj": either("ffn_gate.weight", "gated-gelu", "relu"),
    # in fact whether its outputs are scaled: only those of the first T5 are
    "tie_word_embeddings": either("ffn_gate.weight", False, None),
}
_TOKEN_TYPES = {"type_vocab_size": rows("token_types.weight")}
_LAYER_NUMBERS = ((r"\.layer(\d)\.", r".layer.\1."),)
_BERT_LAYER = "encoder.layer.{i}"

ENCODERS: Mapping[str, ExportSpec] = {
    "BertModel": ExportSpec(
        "bert",
        fits=tokenizer("bert"),
        heads=(("cls.output.weight", "BertForSequenceClassification", "bert."),),
        config=_TOKEN_TYPES,
    ),
    "DistilBertModel": ExportSpec(
        "distilbert",
        heads=(("cls.output.weight", "DistilBertForSequenceClassification", "distilbert."),),
        rename=((r"^classifier\.out_proj\.", "classifier."),),
        fits=lacks("token_types.weight"),
    ),
    "Gemma3TextModel": ExportSpec(
        "gemma3_text",
        config={
            "query_pre_attn_scalar": hparam("attention.key_length"),
            "use_bidirectional_attention": True,
        },
        rename=((r"^model\.", ""),),
    ),
    "JinaBertModel": ExportSpec(
        "bert",
        config={
            **_TOKEN_TYPES,
            "position_embedding_type": "alibi",
            "feed_forward_type": "geglu",
        },
        beside={
            f"{_BERT_LAYER}.mlp.up_gated_layer": "attn_norm_2.weight",
            f"{_BERT_LAYER}.mlp.down_layer": "attn_norm_2.weight",
            f"{_BERT_LAYER}.layer_norm_2": "attn_norm_2.weight",
        },
    ),
    "ModernBertModel": ExportSpec(
        "modernbert",
        heads=(("cls.output.weight", "ModernBertForSequenceClassification", "model."),),
        config={
            "global_rope_theta": hparam("rope.freq_base"),
            "local_rope_theta": hparam("rope.freq_base_swa"),
        },
    ),
    "NomicBertModel": ExportSpec(
        "nomic_bert",
        config={
            **_TOKEN_TYPES,
            "activation_function": either("ffn_gate.weight", "swiglu", "gelu"),
            "causal": False,
            "prenorm": False,
            "rotary_emb_base": hparam("rope.freq_base"),
            "rotary_emb_fraction": 1.0,
            "rotary_emb_interleaved": False,
            "max_trained_positions": 2048,
            "qkv_proj_bias": has("attn_qkv.bias"),
            "mlp_fc1_bias": has("ffn_up.bias"),
            "mlp_fc2_bias": has("ffn_down.bias"),
            "num_experts": hparam("expert_count"),
            "n_embd": hparam("embedding_length"),
            "n_head": hparam("attention.head_count"),
            "n_layer": hparam("block_count"),
            "n_inner": hparam("feed_forward_length"),
        },
    ),
    "RobertaModel": ExportSpec(
        "roberta",
        config=_TOKEN_TYPES,
        beside={"classifier.out_proj": "cls.weight"},
        fits=tokenizer("gpt2"),
        heads=(("cls.output.weight", "RobertaForSequenceClassification", "roberta."),),
    ),
    "T5ForConditionalGeneration": ExportSpec(
        "t5",
        heads=(("enc.blk.1.attn_rel_b.weight", "UMT5ForConditionalGeneration", ""),),
        config={**_T5_CONFIG, "model_type": either("enc.blk.1.attn_rel_b.weight", "umt5")},
        beside=_T5,
        rename=_LAYER_NUMBERS,
    ),
    "T5EncoderModel": ExportSpec(
        "t5",
        config=_T5_CONFIG,
        beside=_T5,
        rename=_LAYER_NUMBERS,
    ),
    "XLMRobertaModel": ExportSpec(
        "xlm-roberta",
        config=_TOKEN_TYPES,
        beside={"classifier.out_proj": "cls.weight"},
        fits=tokenizer("t5"),
        heads=(("cls.output.weight", "XLMRobertaForSequenceClassification", "roberta."),),
    ),
}
