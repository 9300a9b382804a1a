"""Groups of integers with a scale each, as in GPTQ, compressed-tensors, torchao and others.

::

    w[row, col] = scale[row, g] * (code[row, col] - zero[row, g]),  g = group[col]

If a group consists of whole blocks of 32 and its scale fits float16, Q4_0 or Q8_0 can hold the same
weights: blocks are assembled from the codes, and nothing is rounded. llama-quantize would derive
another scale from the largest weight, since the largest code is seldom -8 or 127.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.types import TensorType

Bytes = NDArray[np.uint8]
BLOCK = 32
#: Bits of a code -> the tensor type with the same grid.
LOSSLESS = {4: TensorType.Q4_0, 8: TensorType.Q8_0}
LIMITS = {TensorType.Q4_0: (-8, 7), TensorType.Q8_0: (-128, 127)}


@dataclass(frozen=True)
class Codes:
    """Some rows of a matrix of integers.

    Attributes
    ----------
    values : (n_rows, n_cols) int
        The codes.
    scales : (n_rows, n_groups) float32
        The scale of each group.
    zeros : (n_rows, n_groups) int, or int
        The zero point of each group.
    group : (n_cols,) int
        The group of each column.
    """

    values: NDArray[Any]
    scales: Floats
    zeros: NDArray[Any] | int
    group: NDArray[Any]

    def signed(self) -> NDArray[np.int32]:
        """Return the codes minus their zero points."""
        zeros = self.zeros if isinstance(self.zeros, int) else self.zeros[:, self.group]
        return self.values.astype(np.int32) - np.int32(zeros)

    def dequantized(self) -> Floats:
        """Return the weights as float32."""
        return self.signed().astype(np.float32) * self.scales[:, self.group]

    def blocks(self, type_: TensorType) -> Bytes | None:
        """Return (n_rows, row_size) blocks of Q4_0 or Q8_0, or None if rounding is needed."""
        n_cols = self.values.shape[1]
        signed = self.signed()
        low, high = LIMITS[type_]
        if n_cols % BLOCK or (signed < low).any() or (signed > high).any():
            return None
        group = self.group.reshape(-1, BLOCK)
        with np.errstate(over="ignore"):
            half = self.scales.astype("<f2")
        if (group != group[:, :1]).any() or (half.astype(np.float32) != self.scales).any():
            return None
        n_rows, n_blocks = len(signed), n_cols // BLOCK
        d = np.broadcast_to(half[:, group[:, 0]], (n_rows, n_blocks))
        codes = signed.reshape(n_rows, n_blocks, BLOCK)
        if type_ is TensorType.Q4_0:
            nibbles = (codes + 8).astype(np.uint8)
            stored = nibbles[..., :16] | nibbles[..., 16:] << 4
        else:
            stored = codes.astype(np.int8).view(np.uint8)
        scales = np.ascontiguousarray(d).view(np.uint8).reshape(n_rows, n_blocks, 2)
        return np.concatenate([scales, stored], axis=-1).reshape(n_rows, -1)


class Integers(QuantizedWeight):
    """A weight of codes, scales and zero points."""

    @abstractmethod
    def codes(self, start: int, stop: int) -> Codes:
        """Return the codes of rows."""

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        return self.codes(start, stop).dequantized()

    def blocks(self, start: int, stop: int) -> Bytes | None:
        """Return rows as blocks of `lossless_type`, or None if they would have to be rounded."""
        type_ = self.lossless_type
        return None if type_ is None else self.codes(start, stop).blocks(type_)


def scale_rows(values: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    """Return rows of scales or zero points, of which all rows may share the first."""
    by_row = values.reshape(values.shape[0] if values.ndim else 1, -1)
    if len(by_row) == 1:
        return np.broadcast_to(by_row, (stop - start, by_row.shape[1]))
    return by_row[start:stop]


def lossless_type_of(bits: int, group_size: int) -> TensorType | None:
    """Return the tensor type with the grid of symmetric codes, if groups are whole blocks."""
    return None if group_size % BLOCK else LOSSLESS.get(bits)
