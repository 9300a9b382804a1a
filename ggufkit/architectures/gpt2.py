"""GPT-2: matrices stored as columns (Conv1D), learned positions, tied embeddings.

Source: llama.cpp conversion/gpt2.py GPT2Model; transformers gpt2.
"""

from ggufkit.mapping.model_header import HparamValue
from ggufkit.mapping.spec import FILE_TYPE, Architecture, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Transpose

_LAYER = "h.{i}"
# Conv1D stores matrices as columns; biases stay as they are.
TRANSPOSE = Transpose()

GPT2 = Architecture(
    name="gpt2",
    title="GPT-2",
    hf_classes=("GPT2LMHeadModel",),
    tokenizer="gpt2",
    defaults={
        "n_positions": 1024,
        "n_ctx": lambda config: config["n_positions"],
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "layer_norm_epsilon": 1e-5,
    },
    hparams=(
        Hparam("block_count", "n_layer"),
        Hparam("context_length", "n_ctx"),
        Hparam("embedding_length", "n_embd"),
        Hparam("feed_forward_length", lambda config: 4 * int(config["n_embd"])),
        Hparam("attention.head_count", "n_head"),
        Hparam("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        FILE_TYPE,
    ),
    weights=(
        Weight("token_embd", "wte"),
        Weight("position_embd", "wpe"),
        Weight("output_norm", "ln_f"),
        Weight("output", "lm_head", optional=True),
        Weight("blk.{i}.attn_norm", f"{_LAYER}.ln_1"),
        Weight("blk.{i}.attn_qkv", f"{_LAYER}.attn.c_attn", TRANSPOSE),
        Weight("blk.{i}.attn_output", f"{_LAYER}.attn.c_proj", TRANSPOSE),
        Weight("blk.{i}.ffn_norm", f"{_LAYER}.ln_2"),
        Weight("blk.{i}.ffn_up", f"{_LAYER}.mlp.c_fc", TRANSPOSE),
        Weight("blk.{i}.ffn_down", f"{_LAYER}.mlp.c_proj", TRANSPOSE),
    ),
    rename=((r"^transformer\.", ""),),
    # causal masks of older checkpoints
    ignore=("*.attn.bias", "*.attn.masked_bias"),
    export=ExportSpec("gpt2", config={"n_positions": HparamValue("context_length")}),
)
