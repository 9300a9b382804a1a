"""Qwen3-VL: its text model.

Source: llama.cpp conversion/qwen3vl.py Qwen3VLTextModel; transformers qwen3_vl.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.architectures.qwen3 import QWEN3
from ggufkit.mapping.model_header import ConfigValues, ModelHeader, inverse_of
from ggufkit.mapping.spec import Config, ExportSpec, Hparam


def _deepstack_to_config(value: Any, _: ModelHeader) -> ConfigValues:
    return {"vision_config.deepstack_visual_indexes": list(range(value))} if value else {}


@inverse_of(_deepstack_to_config)
def n_deepstack(config: Config) -> int:
    """Return how many of the first layers also take outputs of the vision encoder's layers."""
    vision = config.get("vision_config")
    given = vision.get("deepstack_visual_indexes") if isinstance(vision, Mapping) else None
    return len(given or ())


DEEPSTACK = Hparam("n_deepstack_layers", n_deepstack)

UNDER_LANGUAGE_MODEL = ((r"^model\.", "model.language_model."),)

QWEN3VL = replace(
    QWEN3,
    name="qwen3vl",
    title="Qwen3-VL, its text part",
    hf_classes=("Qwen3VLForConditionalGeneration",),
    hparams=(*QWEN3.hparams, DEEPSTACK),
    rename=RENAME,
    ignore=OTHER_PARTS,
    export=ExportSpec(
        "qwen3_vl_text",
        config={"rope_scaling.mrope_interleaved": True},
        nested="qwen3_vl",
        rename=UNDER_LANGUAGE_MODEL,
    ),
)
