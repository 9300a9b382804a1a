"""Qwen3-VL: its text model.

Source: llama.cpp conversion/qwen3vl.py Qwen3VLTextModel; transformers qwen3_vl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.architectures.qwen3 import QWEN3
from ggufkit.mapping.spec import Config, Hparam


def n_deepstack(config: Config) -> int:
    """Return how many of the first layers are given what deeper layers of the vision part see."""
    vision = config.get("vision_config")
    given = vision.get("deepstack_visual_indexes") if isinstance(vision, Mapping) else None
    return len(given or ())


DEEPSTACK = Hparam("n_deepstack_layers", n_deepstack)

QWEN3VL = replace(
    QWEN3,
    name="qwen3vl",
    title="Qwen3-VL, its text part",
    hf_classes=("Qwen3VLForConditionalGeneration",),
    hparams=(*QWEN3.hparams, DEEPSTACK),
    rename=RENAME,
    ignore=OTHER_PARTS,
)
