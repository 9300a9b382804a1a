"""Llama 4: experts and a shared expert in every n-th block, attention in chunks.

Source: llama.cpp conversion/llama4.py Llama4Model; transformers llama4.
"""

from __future__ import annotations

from typing import Any

from ggufkit.architectures.llama import LLAMA
from ggufkit.gguf.metadata import Value
from ggufkit.mapping.blocks import (
    FFN,
    GATE_HALF,
    UP_HALF,
    OtherLayers,
    decoder,
    moe_feed_forward,
    replaced,
    stacked_experts,
    without,
)
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Architecture, Config, ExportSpec, Hparam, block_count
from ggufkit.mapping.transforms import Compose, Transpose


def expert_blocks(config: Config) -> list[int]:
    """Return the blocks with experts."""
    given = config.get("moe_layers")
    step = config["interleave_moe_layer_step"]
    return list(range(step - 1, block_count(config), step) if given is None else given)


def default_layer_types(config: Config) -> list[str]:
    """Return transformers' default: full attention where nothing is rotated."""
    n, interval = config["num_hidden_layers"], config["no_rope_layer_interval"]
    rotated = config.get("no_rope_layers") or [(i + 1) % interval != 0 for i in range(n)]
    return ["chunked_attention" if given else "full_attention" for given in rotated]


def _full_to_config(value: Any, header: ModelHeader) -> ConfigValues:
    n = int(header.hparams["block_count"])
    return {} if value else {"layer_types": ["full_attention"] * n}


@inverse_of(_full_to_config)
def without_sliding_window(config: Config) -> Value | None:
    """Return 0 where all attention is full; otherwise llama.cpp knows the window."""
    return 0 if all(kind == "full_attention" for kind in config["layer_types"]) else None


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
        *moe_feed_forward(
            _FFN,
            router="router",
            parts=(),
            shared="shared_expert",
            dense=OtherLayers(expert_blocks),
            sparse=expert_blocks,
        ),
        *stacked_experts(
            f"{_FFN}.experts",
            (
                ("gate", "gate_up_proj", Compose(Transpose(), GATE_HALF)),
                ("up", "gate_up_proj", Compose(Transpose(), UP_HALF)),
                ("down", "down_proj", Transpose()),
            ),
            in_layers=expert_blocks,
        ),
    ),
    rename=LLAMA.rename,
    # the vision encoder is another file's
    ignore=("*vision_model.*", "*multi_modal_projector.*"),
    computed=LLAMA.computed,
    export=ExportSpec("llama4_text", hf_class="Llama4ForCausalLM"),
)
