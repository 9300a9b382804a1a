"""Qwen3-VL with experts: its text model.

Source: llama.cpp conversion/qwen3vl.py Qwen3VLMoeTextModel; transformers qwen3_vl_moe.
"""

from dataclasses import replace

from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.architectures.qwen3moe import QWEN3MOE
from ggufkit.architectures.qwen3vl import DEEPSTACK, UNDER_LANGUAGE_MODEL
from ggufkit.mapping.blocks import (
    FFN,
    QK_NORMS,
    decoder,
    moe_feed_forward,
    stacked_experts,
    without,
)
from ggufkit.mapping.row_transforms import Chunk
from ggufkit.mapping.spec import Context, ExportSpec
from ggufkit.mapping.transforms import Compose, Oriented, Transform


def _down(context: Context) -> Transform:
    config = context.config
    return Oriented(int(config["hidden_size"]), int(config["moe_intermediate_size"]))


def _gate_up(context: Context) -> Transform:
    config = context.config
    return Oriented(2 * int(config["moe_intermediate_size"]), int(config["hidden_size"]))


def _gate(context: Context) -> Transform:
    return Compose(_gate_up(context), Chunk(0))


def _up(context: Context) -> Transform:
    return Compose(_gate_up(context), Chunk(1))


_MLP = "model.layers.{i}.mlp"

QWEN3VLMOE = replace(
    QWEN3MOE,
    name="qwen3vlmoe",
    title="Qwen3-VL with experts, its text part",
    hf_classes=("Qwen3VLMoeForConditionalGeneration",),
    hparams=(*QWEN3MOE.hparams, DEEPSTACK),
    weights=(
        *without(decoder(), *FFN),
        *QK_NORMS,
        *moe_feed_forward(),
        # published stacks have inputs as rows; what transformers 5 saves is like other models'
        *stacked_experts(
            f"{_MLP}.experts",
            (
                ("down", "down_proj", _down),
                ("gate", "gate_up_proj", _gate),
                ("up", "gate_up_proj", _up),
            ),
            optional=True,
        ),
    ),
    rename=RENAME,
    ignore=OTHER_PARTS,
    export=ExportSpec(
        "qwen3_vl_moe_text",
        config={"rope_scaling.mrope_interleaved": True},
        nested="qwen3_vl_moe",
        rename=UNDER_LANGUAGE_MODEL,
        # its checkpoints have stacks
        requires_tensor=dict.fromkeys(
            (f"{_MLP}.experts.down_proj", f"{_MLP}.experts.gate_up_proj"), ""
        ),
    ),
)
