"""Checkpoints whose weights are quantized already: seen as the plain weights that they stand for.

``quantization_config`` of config.json names a method; its module finds the packed tensors and
offers, under the names that an architecture expects, tensors that widen rows when they are read.
Packed parts (scales, zeros, ...) disappear. One line per method here, one small file each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ggufkit.checkpoint.quantized import (
    awq,
    bitsandbytes,
    compressed,
    fp8,
    gptq,
    hqq,
    modelopt,
    mxfp4,
    torchao,
)
from ggufkit.checkpoint.quantized.packed import Tensors
from ggufkit.errors import CheckpointError

Find = Callable[[Tensors, Mapping[str, Any]], tuple[Tensors, str]]

#: quant_method of config.json -> what finds its packed tensors, and describes them.
METHODS: dict[str, Find] = {
    "fp8": fp8.find,
    "fbgemm_fp8": fp8.find,
    "gptq": gptq.find,
    "awq": awq.find,
    "bitsandbytes": bitsandbytes.find,
    "compressed-tensors": compressed.find,
    "modelopt": modelopt.find,
    "hqq": hqq.find,
    "torchao": torchao.find,
    "mxfp4": mxfp4.find,
}


def dequantized_view(config: Mapping[str, Any], tensors: Tensors) -> tuple[Tensors, str]:
    """Return the plain tensors of a checkpoint, and how they are quantized; '' if they are not.

    Raises
    ------
    CheckpointError
        The method is not known, or a tensor's parts do not fit.
    """
    quantization = config.get("quantization_config") or config.get("compression_config")
    if not isinstance(quantization, Mapping):
        # older exports of ModelOpt say it in another file, and their tensors' names do
        return modelopt.find(tensors, {}) if modelopt.is_modelopt(tensors) else (tensors, "")
    given = quantization.get("quant_method")
    method = str(given or ("modelopt" if modelopt.is_modelopt(tensors) else ""))
    if method not in METHODS:
        raise CheckpointError(
            f"config.json: weights quantized by {method[:40]!r} can't be read; known methods are "
            f"{', '.join(METHODS)}. Take the original, or save it dequantized"
        )
    return METHODS[method](tensors, quantization)
