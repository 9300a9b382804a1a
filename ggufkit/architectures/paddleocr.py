"""PaddleOCR-VL: its text model, an ERNIE 4.5 with M-RoPE.

Source: llama.cpp conversion/ernie.py PaddleOCRModel; transformers paddleocr_vl.
"""

from dataclasses import replace

from ggufkit.architectures.ernie4_5 import ERNIE4_5
from ggufkit.architectures.multimodal import OTHER_PARTS, RENAME
from ggufkit.mapping.spec import ExportSpec

PADDLEOCR = replace(
    ERNIE4_5,
    name="paddleocr",
    title="PaddleOCR-VL, its text part",
    hf_classes=("PaddleOCRVLForConditionalGeneration",),
    rename=RENAME,
    ignore=OTHER_PARTS,
    export=ExportSpec("paddleocr_vl_text", nested="paddleocr_vl"),
)
