"""StarCoder 2: grouped-query attention, RoPE.

Source: llama.cpp conversion/starcoder.py StarCoder2Model; transformers starcoder2.
"""

from ggufkit.mapping.blocks import BARE, HPARAMS, decoder, without
from ggufkit.mapping.spec import Architecture, ExportSpec, Weight

_MLP = "model.layers.{i}.mlp"

STARCODER2 = Architecture(
    name="starcoder2",
    title="StarCoder 2",
    hf_classes=("Starcoder2ForCausalLM",),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-5,
        "rope_theta": 10000.0,
        "num_key_value_heads": 2,
    },
    hparams=HPARAMS,
    weights=(
        *without(decoder(), "ffn_gate", "ffn_up", "ffn_down"),
        Weight("blk.{i}.ffn_up", f"{_MLP}.c_fc"),
        Weight("blk.{i}.ffn_down", f"{_MLP}.c_proj"),
    ),
    rename=BARE,
    export=ExportSpec("starcoder2"),
)
