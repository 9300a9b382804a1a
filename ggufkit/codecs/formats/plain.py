"""F32, F16, BF16, F64 and I8 to I64: one number per weight, no blocks.

::

    F32 | sign 1 | exponent 8 | mantissa 23 |        F64 | 1 | 11 | 52 |
    F16 | sign 1 | exponent 5 | mantissa 10 |
    BF16| sign 1 | exponent 8 | mantissa  7 |        the upper half of a float32

Rounding is to nearest, ties to even: ``ggml_fp32_to_fp16_row``, ``ggml_compute_fp32_to_bf16``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.base import Blocks, Codec, Floats
from ggufkit.errors import CodecError
from ggufkit.types import TensorType


def widen_bf16(bits: NDArray[np.uint16]) -> Floats:
    """Widen bfloat16 bit patterns to float32, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def as_float32(rows: NDArray[Any]) -> Floats:
    """Widen rows of float16 or bfloat16; float32 is not copied."""
    if is_bf16(rows.dtype):
        return widen_bf16(np.ascontiguousarray(rows).view(np.uint16))
    if rows.dtype not in (np.float32, np.float16):
        raise CodecError(
            f"weights of dtype {rows.dtype} can't be encoded: "
            f"convert to float32, float16 or bfloat16"
        )
    return np.ascontiguousarray(rows, np.float32)


def is_bf16(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a bfloat16, as other packages register it."""
    return dtype.name == "bfloat16"


def round_bf16(values: Floats) -> NDArray[np.uint16]:
    """Round float32 to bfloat16 bit patterns; a NaN stays one, with its quiet bit set."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    upper = bits >> 16
    rounded = upper & 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    nan = np.isnan(values)
    if nan.any():
        rounded[nan] = upper[nan] | 64
    return rounded.astype("<u2")


def _decode(blocks: Blocks) -> Floats:
    return blocks.astype(np.float32).reshape(-1, 1)


def _decode_bf16(blocks: Blocks) -> Floats:
    return widen_bf16(blocks).reshape(-1, 1)


def _encode_f32(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    return rows.reshape(-1).astype("<f4", copy=False)


def _encode_f16(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    return rows.reshape(-1).astype("<f2")


def _encode_bf16(rows: Floats, importance: Floats | None) -> Blocks:  # noqa: ARG001 - see `Codec`
    return round_bf16(rows.reshape(-1))


def _exact(tensor_type: TensorType, layout: str) -> Codec:
    dtype: np.dtype[Any] = np.dtype(layout)
    return Codec(tensor_type, dtype, _decode)


F32 = Codec(TensorType.F32, np.dtype("<f4"), _decode, _encode_f32)
F16 = Codec(TensorType.F16, np.dtype("<f2"), _decode, _encode_f16)
BF16 = Codec(TensorType.BF16, np.dtype("<u2"), _decode_bf16, _encode_bf16)
F64 = _exact(TensorType.F64, "<f8")
I8 = _exact(TensorType.I8, "<i1")
I16 = _exact(TensorType.I16, "<i2")
I32 = _exact(TensorType.I32, "<i4")
I64 = _exact(TensorType.I64, "<i8")
