"""T5, mT5 and UMT5: an encoder and a decoder.

Source: llama.cpp conversion/t5.py T5Model; transformers t5, mt5, umt5.
"""

from dataclasses import replace

from ggufkit.mapping.model_header import Choose, HasTensor
from ggufkit.mapping.spec import FILE_TYPE, Architecture, Config, ExportSpec, Hparam, Weight


def decoder_blocks(config: Config) -> range:
    """Return the decoder's blocks."""
    return range(config["num_decoder_layers"])


def first_block(_: Config) -> range:
    """Return the block whose biases of positions T5 uses for all; UMT5 has some in each."""
    return range(1)


def _encoder_depth(config: Config) -> int:
    """Return the default of num_decoder_layers: as many as the encoder has."""
    return int(config["num_layers"])


# The copies of the embeddings that files may have, in any order.
EMBEDDINGS = tuple(
    Weight("token_embd", source, allow_duplicates=True)
    for source in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")
)

_ENCODER = "encoder.block.{i}.layer"

# The numbers of a block's parts are made a part of their names by `rename`.
ENCODER = (
    Weight("enc.output_norm", "encoder.final_layer_norm"),
    Weight("enc.blk.{i}.attn_norm", f"{_ENCODER}0.layer_norm"),
    *(Weight(f"enc.blk.{{i}}.attn_{part}", f"{_ENCODER}0.SelfAttention.{part}") for part in "qkvo"),
    Weight(
        "enc.blk.{i}.attn_rel_b",
        f"{_ENCODER}0.SelfAttention.relative_attention_bias",
        in_layers=first_block,
    ),
    Weight("enc.blk.{i}.ffn_norm", f"{_ENCODER}1.layer_norm"),
    Weight("enc.blk.{i}.ffn_gate", f"{_ENCODER}1.DenseReluDense.wi_0", optional=True),
    Weight("enc.blk.{i}.ffn_up", f"{_ENCODER}1.DenseReluDense.wi_1"),
    Weight("enc.blk.{i}.ffn_up", f"{_ENCODER}1.DenseReluDense.wi"),
    Weight("enc.blk.{i}.ffn_down", f"{_ENCODER}1.DenseReluDense.wo"),
)

_DECODER = "decoder.block.{i}.layer"

DECODER = tuple(
    weight
    if weight.in_layers or "{i}" not in weight.name
    else replace(weight, in_layers=decoder_blocks)
    for weight in (
        Weight("dec.output_norm", "decoder.final_layer_norm"),
        Weight("output", "lm_head", optional=True),
        Weight("dec.blk.{i}.attn_norm", f"{_DECODER}0.layer_norm"),
        *(
            Weight(f"dec.blk.{{i}}.attn_{part}", f"{_DECODER}0.SelfAttention.{part}")
            for part in "qkvo"
        ),
        Weight(
            "dec.blk.{i}.attn_rel_b",
            f"{_DECODER}0.SelfAttention.relative_attention_bias",
            in_layers=first_block,
        ),
        Weight("dec.blk.{i}.cross_attn_norm", f"{_DECODER}1.layer_norm"),
        *(
            Weight(f"dec.blk.{{i}}.cross_attn_{part}", f"{_DECODER}1.EncDecAttention.{part}")
            for part in "qkvo"
        ),
        # unused, but the first models have it
        Weight(
            "dec.blk.{i}.cross_attn_rel_b",
            f"{_DECODER}1.EncDecAttention.relative_attention_bias",
            optional=True,
        ),
        Weight("dec.blk.{i}.ffn_norm", f"{_DECODER}2.layer_norm"),
        Weight("dec.blk.{i}.ffn_gate", f"{_DECODER}2.DenseReluDense.wi_0", optional=True),
        Weight("dec.blk.{i}.ffn_up", f"{_DECODER}2.DenseReluDense.wi_1"),
        Weight("dec.blk.{i}.ffn_up", f"{_DECODER}2.DenseReluDense.wi"),
        Weight("dec.blk.{i}.ffn_down", f"{_DECODER}2.DenseReluDense.wo"),
    )
)

# In fact, T5 ties its embeddings where the output is scaled: only the first version's is.
CONFIG = {
    "feed_forward_proj": Choose(HasTensor("ffn_gate.weight"), "gated-gelu", "relu"),
    "tie_word_embeddings": Choose(HasTensor("ffn_gate.weight"), False),
}
GATED = {
    "encoder.block.{i}.layer1.DenseReluDense.wi_1": "ffn_gate.weight",
    "decoder.block.{i}.layer2.DenseReluDense.wi_1": "ffn_gate.weight",
}
LAYER_NUMBERS = ((r"\.layer(\d)\.", r".layer.\1."),)

T5 = Architecture(
    name="t5",
    title="T5, mT5, UMT5, Flan-T5",
    hf_classes=(
        "T5ForConditionalGeneration",
        "T5WithLMHeadModel",
        "MT5ForConditionalGeneration",
        "UMT5ForConditionalGeneration",
        "UMT5Model",
    ),
    tokenizer="t5",
    defaults={
        "n_positions": 512,
        "num_decoder_layers": _encoder_depth,
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "d_kv": 64,
        "decoder_start_token_id": 0,
    },
    hparams=(
        Hparam("context_length", "n_positions"),
        Hparam("embedding_length", "d_model"),
        Hparam("feed_forward_length", "d_ff"),
        Hparam("block_count", "num_layers"),
        Hparam("decoder_block_count", "num_decoder_layers"),
        Hparam("attention.head_count", "num_heads"),
        Hparam("attention.key_length", "d_kv"),
        Hparam("attention.value_length", "d_kv"),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        Hparam("attention.relative_buckets_count", "relative_attention_num_buckets"),
        Hparam("attention.layer_norm_rms_epsilon", "layer_norm_epsilon"),
        Hparam("decoder_start_token_id", "decoder_start_token_id"),
        FILE_TYPE,
    ),
    weights=(*EMBEDDINGS, *ENCODER, *DECODER),
    rename=((r"\.layer\.(\d+)\.", r".layer\1."),),
    export=ExportSpec(
        "t5",
        task_heads=(("enc.blk.1.attn_rel_b.weight", "UMT5ForConditionalGeneration", ""),),
        config={**CONFIG, "model_type": Choose(HasTensor("enc.blk.1.attn_rel_b.weight"), "umt5")},
        requires_tensor=GATED,
        rename=LAYER_NUMBERS,
    ),
)
