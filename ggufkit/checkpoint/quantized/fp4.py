"""Four-bit floats (E2M1) with scales per group: MXFP4 and NVFP4.

::

    codes   U8, (..., n_cols / 2)      byte i holds weight 2i in its low, 2i + 1 in its high nibble
    scales  U8, (..., n_cols / 32)     MXFP4: exponents, 2**(byte - 127)
            F8_E4M3, (..., n_cols / 16) and a factor F32: NVFP4

    w = E2M1(code) * scale,  NVFP4: E2M1(code) * scale * factor

ggml's MXFP4 block is the exponent and the same 16 bytes with another order of nibbles (byte j
holds weights j and j + 16), so blocks can be assembled without rounding. ggml's NVFP4 has no
field for the factor, so that NVFP4 is dequantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.fp8 import TABLES
from ggufkit.checkpoint.quantized.packed import E8M0, floats, with_shape
from ggufkit.checkpoint.quantized.view import described, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_bytes_of, read_raw
from ggufkit.errors import CheckpointError
from ggufkit.types import TensorType

_POSITIVE = (0, 0.5, 1, 1.5, 2, 3, 4, 6)
VALUES = np.array([*_POSITIVE, *(-x for x in _POSITIVE)], np.float32)


def tall(tensor: CheckpointTensor, n_cols: int) -> CheckpointTensor:
    """Return the same bytes as a matrix with rows of `n_cols` elements."""
    return with_shape(tensor, (prod(tensor.shape) // n_cols if n_cols else 0, n_cols))


def nibbles(packed: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the 4-bit codes in bytes along the last axis, the low nibble first."""
    both = np.stack([packed & 15, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], 2 * packed.shape[-1]).astype(np.uint8, copy=False)


@dataclass(frozen=True)
class MXFP4(QuantizedWeight):
    """A weight, or a stack of them, in groups of 32 floats that share an exponent.

    Attributes
    ----------
    codes, exponents : CheckpointTensor
        (n_rows, n_cols / 2) and (n_rows, n_cols / 32) bytes.
    native : bool
        Whether llama.cpp's converter keeps it as MXFP4 in every file.
    """

    codes: CheckpointTensor
    exponents: CheckpointTensor
    native: bool = False

    @property
    def lossless_type(self) -> TensorType:
        """MXFP4: only the order of the codes differs."""
        return TensorType.MXFP4

    @property
    def keeps_blocks(self) -> bool:
        """Whether every file has the weight in MXFP4, as for the experts of gpt-oss."""
        return self.native

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        values = VALUES[nibbles(read_bytes_of(self.codes, slice(start, stop)))]
        exponents = read_bytes_of(self.exponents, slice(start, stop)).astype(np.int32) - 127
        with np.errstate(over="ignore"):
            return np.ldexp(values, np.repeat(exponents, 32, axis=1)).astype(np.float32)

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return rows as MXFP4 blocks: the same codes, in ggml's order."""
        exponents = read_bytes_of(self.exponents, slice(start, stop))
        codes = nibbles(read_bytes_of(self.codes, slice(start, stop)))
        codes = codes.reshape(*exponents.shape, 32)
        stored = codes[..., :16] | codes[..., 16:] << 4
        joined = np.concatenate([exponents[..., None], stored], axis=-1)
        return joined.reshape(stop - start, -1)


@dataclass(frozen=True)
class NVFP4(QuantizedWeight):
    """A weight in groups of 16 floats with an FP8 scale each, and one factor for all groups.

    Attributes
    ----------
    codes, scales : CheckpointTensor
        (n_rows, n_cols / 2) bytes and (n_rows, n_cols / 16) E4M3.
    factor : CheckpointTensor
        One float32.
    inverse : bool
        Whether scales are divided by the factor, instead of multiplied.
    """

    codes: CheckpointTensor
    scales: CheckpointTensor
    factor: CheckpointTensor
    inverse: bool

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        values = VALUES[nibbles(read_raw(self.codes, slice(start, stop)))]
        scales = TABLES["F8_E4M3"][read_bytes_of(self.scales, slice(start, stop))]
        factor = floats(self.factor).reshape(())
        with np.errstate(divide="ignore", invalid="ignore"):
            scales = scales / factor if self.inverse else scales * factor
        dequantized: Floats = values * np.repeat(scales, 16, axis=1)
        return dequantized


def mxfp4(
    codes: CheckpointTensor, exponents: CheckpointTensor, *, native: bool = False
) -> tuple[tuple[int, ...], MXFP4]:
    """Return the shape and the weight of two parts.

    `codes` are (..., n_cols / 2), or (..., n_cols / 32, 16) as in gpt-oss.

    Raises
    ------
    CheckpointError
        The parts do not fit.
    """
    shape = codes.shape
    if len(shape) == len(exponents.shape) + 1 and shape[-1] == 16:
        shape = (*shape[:-2], shape[-2] * 16)
    if len(shape) < 2 or codes.dtype != "U8" or shape[-1] % 16:
        raise CheckpointError(f"{described(codes)}, expected MXFP4: U8 in groups of 16 bytes")
    expect(exponents, (*shape[:-1], shape[-1] // 16), E8M0)
    parts = MXFP4(tall(codes, shape[-1]), tall(exponents, shape[-1] // 16), native)
    return (*shape[:-1], shape[-1] * 2), parts


def nvfp4(
    codes: CheckpointTensor, scales: CheckpointTensor, factor: CheckpointTensor, *, inverse: bool
) -> tuple[tuple[int, ...], NVFP4]:
    """Return the shape and the weight of three parts.

    Raises
    ------
    CheckpointError
        The parts do not fit.
    """
    if len(codes.shape) != 2 or codes.dtype != "U8" or codes.shape[1] % 8:
        raise CheckpointError(
            f"{described(codes)}, expected NVFP4: U8 of two dimensions in groups of 8 bytes"
        )
    n_rows, width = codes.shape
    expect(scales, (n_rows, width // 8), ("F8_E4M3",))
    expect(factor, factor.shape if factor.shape in ((), (1,), (1, 1)) else (1,), ("F32",))
    return (n_rows, width * 2), NVFP4(codes, scales, factor, inverse)
