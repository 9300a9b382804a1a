"""FP8: 8-bit floats with a scale per tensor, per row, or per block of 128 x 128 (DeepSeek V3).

::

    NAME.weight            F8_E4M3 or F8_E5M2, (n_rows, n_cols)
    NAME.weight_scale_inv  F32, (n_rows / 128, n_cols / 128), rounded up      w = f8 * scale
    NAME.weight_scale      F32 or BF16, (), (1,), (n_rows,) or (n_rows, 1)    w = f8 * scale
                           or bytes, which are exponents: 2**(byte - 127)

Weights are multiplied in float32, as the format says; every 8-bit float is exact in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.packed import E8M0, floats
from ggufkit.checkpoint.quantized.view import PlainView
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_bytes_of
from ggufkit.errors import CheckpointError

BLOCK = (128, 128)
SCALES = ("F32", "BF16", "F16", *E8M0)
# Scales of activations and caches, which say nothing about the weights.
ELSEWHERE = (
    ".input_scale",
    ".activation_scale",
    ".q_scale",
    ".k_scale",
    ".v_scale",
    ".input_scale_ub",
)


def _table(exponent_bits: int, mantissa_bits: int, bias: int, *, has_infinity: bool) -> Floats:
    """Return the value of each of the 256 codes."""
    codes = np.arange(256)
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent = codes >> mantissa_bits & (1 << exponent_bits) - 1
    fraction = (codes & (1 << mantissa_bits) - 1) / (1 << mantissa_bits)
    normal = (1 + fraction) * 2.0 ** (exponent - bias)
    values = sign * np.where(exponent > 0, normal, fraction * 2.0 ** (1 - bias))
    if has_infinity:
        top = exponent == (1 << exponent_bits) - 1
        values = np.where(top, np.where(fraction == 0, sign * np.inf, np.nan), values)
    else:
        values = np.where(codes & 0x7F == 0x7F, np.nan, values)
    return values.astype(np.float32)


TABLES = {
    "F8_E4M3": _table(4, 3, 7, has_infinity=False),
    "F8_E5M2": _table(5, 2, 15, has_infinity=True),
}


@dataclass(frozen=True)
class FP8(QuantizedWeight):
    """A weight in 8-bit floats; `block` is the rows and columns that share a scale."""

    weight: CheckpointTensor
    scale: CheckpointTensor | None
    block: tuple[int, int]

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        codes = read_bytes_of(self.weight, slice(start, stop))
        values: Floats = TABLES[self.weight.dtype][codes]
        if self.scale is None:
            return values
        scale = floats(self.scale)
        if scale.size == 1:
            return values * scale.reshape(())
        height, width = self.block
        by_row = scale.reshape(scale.shape[0], -1)[np.arange(start, stop) // height]
        if by_row.shape[1] == 1:
            return values * by_row
        return values * np.repeat(by_row, width, axis=1)[:, : values.shape[1]]


def find(view: PlainView, config: Mapping[str, Any]) -> str:
    """Replace FP8 tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The shape of a scale does not fit.
    """
    block = tuple(config.get("weight_block_size") or BLOCK)
    if len(block) != 2 or not all(type(n) is int and n > 0 for n in block):
        raise CheckpointError(
            f"config.json: weight_block_size is {str(block)[:60]}, expected two positive integers"
        )
    view.hidden.update(name for name in view.stored if name.endswith(ELSEWHERE))
    for name, tensor in view.stored.items():
        if tensor.dtype not in TABLES or len(tensor.shape) != 2:
            continue
        scale = view.stored.get(f"{name}_scale_inv") or view.stored.get(f"{name}_scale")
        if scale is not None:
            view.hidden.add(scale.name)
        view.put(name, tensor, tensor.shape, scaled(tensor, scale, block))
    return "FP8, dequantized"


def scaled(
    tensor: CheckpointTensor, scale: CheckpointTensor | None, block: tuple[int, ...] = BLOCK
) -> FP8:
    """Return a weight with a scale per tensor, per row, per block, or per group of a row.

    Raises
    ------
    CheckpointError
        The shape of the scale does not fit.
    """
    n_rows, n_cols = tensor.shape
    if scale is not None and scale.dtype not in SCALES:
        raise CheckpointError(
            f"{scale.shard.path}: tensor {scale.name!r} is {scale.dtype}, expected a scale of FP8 "
            f"in one of {', '.join(SCALES)}"
        )
    if scale is None or scale.shape in ((), (1,), (1, 1)):
        return FP8(tensor, scale, (n_rows or 1, n_cols or 1))
    if scale.shape in ((n_rows,), (n_rows, 1)):
        return FP8(tensor, scale, (1, n_cols or 1))
    if len(block) == 2 and scale.shape == (-(-n_rows // block[0]), -(-n_cols // block[1])):
        return FP8(tensor, scale, (block[0], block[1]))
    raise CheckpointError(
        f"{scale.shard.path}: tensor {scale.name!r} has shape {scale.shape}, which does not fit a "
        f"weight of shape {tensor.shape} in blocks of {block}"
    )
