"""T5's encoder alone.

Source: llama.cpp conversion/t5.py T5EncoderModel; transformers t5.
"""

from dataclasses import replace

from ggufkit.architectures.t5 import CONFIG, EMBEDDINGS, ENCODER, GATED, LAYER_NUMBERS, T5
from ggufkit.mapping.spec import ExportSpec

# Of a checkpoint with a decoder only; they stand between those of both.
_OF_DECODER = ("decoder_block_count", "decoder_start_token_id")

T5_ENCODER = replace(
    T5,
    name="t5encoder",
    title="T5's encoder",
    hf_classes=("T5EncoderModel",),
    hparams=tuple(h for h in T5.hparams if isinstance(h, str) or h.key not in _OF_DECODER),
    weights=(*EMBEDDINGS, *ENCODER),
    export=ExportSpec("t5", config=CONFIG, requires_tensor=GATED, rename=LAYER_NUMBERS),
)
