"""How a quantized checkpoint is recognised by its tensors, where no config says what it is."""

from __future__ import annotations

from collections.abc import Mapping

from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.errors import CheckpointError

#: What a part's name ends with -> the method whose parts are called so. The first that is found
#: counts.
ENDINGS = {
    ".SCB": "bitsandbytes",
    ".quant_state.bitsandbytes__nf4": "bitsandbytes",
    ".quant_state.bitsandbytes__fp4": "bitsandbytes",
    ".W_q": "hqq",
    "_qdata": "torchao",
    ".weight_packed": "compressed-tensors",
    ".weight_scale_2": "modelopt",
    ".weight_scale_inv": "fp8",
}
#: Methods that can't be read, by the endings of parts that only they have.
UNREADABLE = {
    ".absmax": "bitsandbytes (4 bits, without their quant_state)",
    ".codebooks": "AQLM",
    ".weight_scales": "EETQ",
    "._data": "Quanto",
    ".B_scale": "Marlin",
    ".suh": "EXL3",
    ".q_scale_max": "EXL2",
    ".SU": "QuIP",
}
# Dtypes of codes; other integers are positions and the like.
_CODES = ("I8", "U8", "I16", "U16", "I32", "U32")
FP8 = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
_ADVICE = "Use the original model, or save it dequantized"

Tensors = Mapping[str, CheckpointTensor]


def method_of(tensors: Tensors) -> tuple[str, str]:
    """Return the quant_method of a checkpoint by its tensors, and the one that tells it.

    Both are '' if no tensor is quantized.

    Raises
    ------
    CheckpointError
        They are quantized by a method that can't be read.
    """
    for ending, method in ENDINGS.items():
        for name in tensors:
            # HQQ has more parts: a float matrix may be called so, too
            if name.endswith(ending) and (method != "hqq" or f"{name[:-4]}.nbits" in tensors):
                return method, name
    for name, tensor in tensors.items():
        if by_dtype := _by_dtype(name, tensor, tensors):
            return by_dtype, name
    if any(tensor.dtype in _CODES and len(tensor.shape) > 1 for tensor in tensors.values()):
        _refuse_unreadable(tensors)
    return "", ""


def _refuse_unreadable(tensors: Tensors) -> None:
    for ending, method in UNREADABLE.items():
        part = next((tensor for name, tensor in tensors.items() if name.endswith(ending)), None)
        if part is not None:
            raise CheckpointError(
                f"{part.shard.path}: weights quantized by {method} (as {part.name} tells) can't be "
                f"read. {_ADVICE}"
            )


def _by_dtype(name: str, tensor: CheckpointTensor, tensors: Tensors) -> str:
    """Return the method of one weight, by the dtypes and shapes of its parts."""
    stem, _, part = name.rpartition(".")
    scales = tensors.get(f"{stem}.scales")
    if part == "weight" and tensor.dtype == "U32" and scales is not None:
        return "mlx"
    if part == "qweight" and tensor.dtype == "I32" and scales is not None:
        return "gptq" if tensor.shape[-1:] == scales.shape[-1:] else "awq"
    if tensor.dtype in FP8 and f"{name}_scale" in tensors:
        return "modelopt"
    if tensor.dtype == "I8" and f"{name}_scale" in tensors:
        return "compressed-tensors"
    stacked = name.endswith("_blocks") and tensor.dtype == "U8"
    return "mxfp4" if stacked and f"{name.removesuffix('blocks')}scales" in tensors else ""
