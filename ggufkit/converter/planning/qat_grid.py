"""Whether floats lie on a quantized type's grid already, as after training for that type.

A checkpoint that was trained to be quantized (QAT) and saved in BF16 can hold weights that are
multiples of a scale per block. Q4_0 then changes them by no more than BF16 had rounded them.
"""

from __future__ import annotations

import numpy as np

from ggufkit.codecs import dequantize, quantize
from ggufkit.converter.planning.type_selection import role_of
from ggufkit.converter.sources.base import Source, SourceTensor
from ggufkit.errors import NotFiniteError
from ggufkit.types import TensorType

GRID = TensorType.Q4_0
# BF16 rounds by up to 2**-9 of a weight, and so the scale once more; other weights lose 2**-4.
MOST_ERROR = 2.0**-7
N_TENSORS, N_ROWS = 3, 16


def is_quantization_aware(source: Source) -> bool:
    """Whether a sample of a model's feed-forward weights lies on the grid of Q4_0.

    Parameters
    ----------
    source : Source
        A checkpoint or a GGUF file; a few rows of it are read.
    """
    tensors = [
        tensor
        for tensor in source.tensors
        if role_of(tensor.name).startswith("ffn_")
        and tensor.required_type is None
        and tensor.lossless_type is None
        and not tensor.source_type.is_quantized
        and len(tensor.shape) > 1
        and tensor.n_cols % GRID.block_size == 0
    ]
    sample = tensors[:: max(1, len(tensors) // N_TENSORS)][:N_TENSORS]
    return bool(sample) and all(_is_near(source, tensor) for tensor in sample)


def _is_near(source: Source, tensor: SourceTensor) -> bool:
    values = source.reader(tensor).read(slice(0, min(N_ROWS, tensor.n_rows)))
    try:
        nearest = dequantize(quantize(values, GRID), GRID)
    except NotFiniteError:
        return False
    size = float(np.linalg.norm(values))
    return size > 0 and float(np.linalg.norm(values - nearest)) < MOST_ERROR * size
