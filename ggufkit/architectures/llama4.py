"""Llama 4: experts beside a shared one in every n-th block, attention in chunks.

Source: llama.cpp conversion/llama4.py Llama4Model; transformers llama4.
"""

from __future__ import annotations

from ggufkit.architectures.llama import LLAMA
from ggufkit.gguf.metadata import Value
from ggufkit.mapping.blocks import FFN, decoder, replaced, without
from ggufkit.mapping.row_transforms import Chunk
from ggufkit.mapping.spec import Architecture, Config, Context, Hparam, Weight, block_count
from ggufkit.mapping.transforms import Compose, Transform, Transpose


def expert_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    given = config.get("moe_layers")
    step = config["interleave_moe_layer_step"]
    return list(range(step - 1, block_count(config), step) if given is None else given)


def plain_blocks(config: Config) -> list[int]:
    """Return the other blocks."""
    experts = set(expert_blocks(config))
    return [i for i in range(block_count(config)) if i not in experts]


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: full attention where nothing is rotated."""
    n, interval = config["num_hidden_layers"], config["no_rope_layer_interval"]
    rotated = config.get("no_rope_layers") or [(i + 1) % interval != 0 for i in range(n)]
    return ["chunked_attention" if given else "full_attention" for given in rotated]


def without_sliding_window(config: Config) -> Value | None:
    """Return 0 where all attention is full; otherwise llama.cpp knows the window."""
    return 0 if all(kind == "full_attention" for kind in config["layer_types"]) else None


def transposed(_: Context) -> Transform:
    """Return the transform of experts whose rows are the columns."""
    return Transpose()


def transposed_gate(_: Context) -> Transform:
    """Return the transform of such gates and ups to gates."""
    return Compose(Transpose(), Chunk(0))


def transposed_up(_: Context) -> Transform:
    """Return the transform of such gates and ups to ups."""
    return Compose(Transpose(), Chunk(1))


_FFN = "model.layers.{i}.feed_forward"

LLAMA4 = Architecture(
    name="llama4",
    title="Llama 4, its text part",
    hf_classes=("Llama4ForConditionalGeneration", "Llama4ForCausalLM"),
    tokenizer="gpt2",
    defaults={
        "max_position_embeddings": 131072,
        "intermediate_size": 8192,
        "intermediate_size_mlp": 16384,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "vocab_size": 202048,
        "num_local_experts": 16,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 1,
        "no_rope_layer_interval": 4,
        "layer_types": default_layer_types,
    },
    hparams=(
        # the name that other models have for this is the experts' here
        *replaced(LLAMA.hparams, Hparam("feed_forward_length", "intermediate_size_mlp")),
        Hparam("interleave_moe_layer_step", "interleave_moe_layer_step"),
        Hparam("expert_feed_forward_length", "intermediate_size"),
        Hparam("attention.sliding_window", without_sliding_window),
    ),
    weights=(
        *without(decoder(), *FFN),
        *(
            Weight(f"blk.{{i}}.ffn_{part}", f"{_FFN}.{part}_proj", blocks=plain_blocks)
            for part in ("gate", "up", "down")
        ),
        Weight("blk.{i}.ffn_gate_inp", f"{_FFN}.router", blocks=expert_blocks),
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_exps.weight",
                f"{_FFN}.experts.{source}",
                transform,
                blocks=expert_blocks,
                exact=True,
            )
            for part, source, transform in (
                ("gate", "gate_up_proj", transposed_gate),
                ("up", "gate_up_proj", transposed_up),
                ("down", "down_proj", transposed),
            )
        ),
        *(
            Weight(
                f"blk.{{i}}.ffn_{part}_shexp",
                f"{_FFN}.shared_expert.{part}_proj",
                blocks=expert_blocks,
            )
            for part in ("gate", "up", "down")
        ),
    ),
    rename=LLAMA.rename,
    # the part that sees is another file's
    ignore=("*vision_model.*", "*multi_modal_projector.*"),
    generated=LLAMA.generated,
)
