"""EXAONE 3 and 3.5: a llama with names of its own.

Source: llama.cpp conversion/exaone.py ExaoneModel; the modeling code in the models' repositories.
"""

from ggufkit.mapping.blocks import HPARAMS, replaced, rope_dim
from ggufkit.mapping.computed import LLAMA3_FACTORS
from ggufkit.mapping.spec import Architecture, ExportSpec, Hparam, Weight

_BLOCK = "transformer.h.{i}"
_ATTENTION = f"{_BLOCK}.attn.attention"

# llama.cpp's converter writes no epsilon of this name, without which llama.cpp refuses the file.
_EPSILON = Hparam("attention.layer_norm_rms_epsilon", "layer_norm_epsilon")

EXAONE = Architecture(
    name="exaone",
    title="EXAONE 3, 3.5",
    hf_classes=("ExaoneForCausalLM",),
    tokenizer="gpt2",
    hparams=(*replaced(HPARAMS, _EPSILON), Hparam("rope.dimension_count", rope_dim)),
    weights=(
        Weight("token_embd", "transformer.wte"),
        Weight("output_norm", "transformer.ln_f"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_BLOCK}.ln_1"),
        Weight("blk.{i}.attn_q", f"{_ATTENTION}.q_proj"),
        Weight("blk.{i}.attn_k", f"{_ATTENTION}.k_proj"),
        Weight("blk.{i}.attn_v", f"{_ATTENTION}.v_proj"),
        Weight("blk.{i}.attn_output", f"{_ATTENTION}.out_proj"),
        Weight("blk.{i}.ffn_norm", f"{_BLOCK}.ln_2"),
        Weight("blk.{i}.ffn_gate", f"{_BLOCK}.mlp.c_fc_0"),
        Weight("blk.{i}.ffn_up", f"{_BLOCK}.mlp.c_fc_1"),
        Weight("blk.{i}.ffn_down", f"{_BLOCK}.mlp.c_proj"),
    ),
    computed=LLAMA3_FACTORS,
    export=ExportSpec("exaone"),
)
