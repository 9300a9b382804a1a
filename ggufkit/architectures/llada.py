"""LLaDA: a llama that fills in masked tokens, so that attention looks both ways.

Source: llama.cpp conversion/llada.py LLaDAModel; the modeling code in the models' repositories.
"""

from ggufkit.mapping.blocks import HPARAMS, POOLING
from ggufkit.mapping.model_header import HAS_BIASES, HasTensor, HparamValue, Not, RowCount
from ggufkit.mapping.row_transforms import PermuteRope
from ggufkit.mapping.spec import Always, Architecture, Config, Context, ExportSpec, Hparam, Weight
from ggufkit.mapping.transforms import Transform


def head_size(config: Config) -> int:
    """Return the rows of one of LLaDA's attention heads."""
    return int(config["d_model"]) // int(config["n_heads"])


def permute(context: Context) -> Transform:
    """Return the row order of queries and keys."""
    return PermuteRope(head_size(context.config))


_BLOCK = "model.transformer.blocks.{i}"

LLADA = Architecture(
    name="llada",
    title="LLaDA",
    hf_classes=("LLaDAModelLM",),
    tokenizer="llada",
    defaults={"max_sequence_length": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0},
    hparams=(
        *HPARAMS,
        *POOLING,
        Hparam("vocab_size", "vocab_size"),
        Hparam("rope.dimension_count", head_size),
        Hparam("context_length", "max_sequence_length"),
        Hparam("embedding_length", "d_model"),
        Hparam("feed_forward_length", "mlp_hidden_size"),
        Hparam("attention.causal", Always(False)),
        Hparam("diffusion.shift_logits", Always(False)),
    ),
    weights=(
        Weight("token_embd", "model.transformer.wte"),
        Weight("output_norm", "model.transformer.ln_f"),
        Weight("output", "model.transformer.ff_out", optional=True),
        Weight("blk.{i}.attn_norm", f"{_BLOCK}.attn_norm"),
        Weight("blk.{i}.attn_q", f"{_BLOCK}.q_proj", permute),
        Weight("blk.{i}.attn_k", f"{_BLOCK}.k_proj", permute),
        Weight("blk.{i}.attn_v", f"{_BLOCK}.v_proj"),
        Weight("blk.{i}.attn_output", f"{_BLOCK}.attn_out"),
        Weight("blk.{i}.ffn_norm", f"{_BLOCK}.ff_norm"),
        Weight("blk.{i}.ffn_gate", f"{_BLOCK}.ff_proj"),
        Weight("blk.{i}.ffn_up", f"{_BLOCK}.up_proj"),
        Weight("blk.{i}.ffn_down", f"{_BLOCK}.ff_out"),
    ),
    export=ExportSpec(
        "llada",
        config={
            "n_layers": HparamValue("block_count"),
            "n_heads": HparamValue("attention.head_count"),
            "n_kv_heads": HparamValue("attention.head_count_kv"),
            "embedding_size": RowCount("token_embd.weight"),
            "include_bias": False,
            "include_qkv_bias": HAS_BIASES,
            "activation_type": "silu",
            "block_type": "llama",
            "layer_norm_type": "rms",
            "rope": True,
            "weight_tying": Not(HasTensor("output.weight")),
        },
    ),
)
