"""Quantized checkpoints, presented as the plain weights that they encode.

``quantization_config`` of config.json names a method; where it does not, the tensors tell. The
method's module finds the packed tensors and replaces them by tensors with the names that an
architecture expects, whose rows are dequantized when they are read. Their parts (scales, zeros,
...) disappear from the checkpoint.
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
    mlx,
    modelopt,
    mxfp4,
    torchao,
)
from ggufkit.checkpoint.quantized.signs import method_of
from ggufkit.checkpoint.quantized.view import PlainView, Tensors
from ggufkit.errors import CheckpointError

Find = Callable[[PlainView, Mapping[str, Any]], str]

#: quant_method of config.json -> function that replaces packed tensors and describes the method.
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
    "mlx": mlx.find,
}


def dequantized_view(config: Mapping[str, Any], tensors: Tensors) -> tuple[Tensors, str]:
    """Return plain tensors for a checkpoint, and how it is quantized ('' if it is not).

    Raises
    ------
    CheckpointError
        The method is not known, or a tensor's parts do not fit.
    """
    settings = _settings(config)
    method = str(settings.get("quant_method") or "") or method_of(tensors)[0]
    if not method:
        return tensors, ""
    if method not in METHODS:
        raise CheckpointError(
            f"config.json: weights quantized by {method[:40]!r} can't be read; known methods are "
            f"{', '.join(METHODS)}. Use the original model, or save it dequantized"
        )
    view = PlainView(tensors)
    description = METHODS[method](view, settings)
    plain = view.tensors()
    rest, name = method_of(plain)
    if rest:
        raise CheckpointError(
            f"weights are quantized by {method}, but {name} ({plain[name].dtype} of shape "
            f"{plain[name].shape}) is of {rest}, in a layout that can't be read. Is config.json "
            "the one of these weights? Otherwise use the original model, or save it dequantized"
        )
    return plain, description if view.weights else ""


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of a config that names a method, or MLX's, which names none."""
    given = config.get("quantization_config") or config.get("compression_config")
    if isinstance(given, Mapping) and given.get("quant_method"):
        return given
    own = config.get("quantization")
    return next((each for each in (own, given) if isinstance(each, Mapping)), {})
