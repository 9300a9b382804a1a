"""Qwen2-VL and 2.5-VL: their text model.

Source: llama.cpp conversion/qwenvl.py Qwen2VLModel; transformers qwen2_vl, qwen2_5_vl.
"""

from dataclasses import replace

from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.architectures.qwen2 import QWEN2
from ggufkit.mapping.blocks import HPARAMS
from ggufkit.mapping.spec import ExportSpec

QWEN2VL = replace(
    QWEN2,
    name="qwen2vl",
    title="Qwen2-VL and 2.5-VL, their text part",
    hf_classes=(
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen2VLModel",
    ),
    defaults={**QWEN2.defaults, "rms_norm_eps": 1e-5, "num_key_value_heads": 8},
    hparams=HPARAMS,
    rename=RENAME,
    ignore=OTHER_PARTS,
    export=ExportSpec("qwen2_vl"),
)
