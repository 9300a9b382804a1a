"""Functions that the quantization methods share."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_bytes_of, read_raw

#: Packed matrices that are cached while their rows are read piece by piece.
CACHED = 4

#: Dtypes of plain scales and zero points.
FLOATS = ("F16", "BF16", "F32")

#: Dtypes of scales that are exponents of two: 2**(byte - 127).
E8M0 = ("U8", "F8_E8M0")


@lru_cache(maxsize=CACHED)
def whole(tensor: CheckpointTensor) -> NDArray[Any]:
    """Return a complete packed tensor, read-only; the last few are cached."""
    values = read_raw(tensor)
    if tensor.dtype == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    values.flags.writeable = False
    return values


def floats(tensor: CheckpointTensor) -> Floats:
    """Return a complete tensor of scales as float32; 8-bit scales are powers of two (E8M0)."""
    if tensor.dtype in E8M0:
        exponents = read_bytes_of(tensor, slice(None)).astype(np.int32) - 127
        return np.ldexp(np.float32(1), exponents).astype(np.float32)
    return whole(tensor).astype(np.float32)


def unpack(words: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Return the codes in 32-bit words along the last axis, the lowest bits first.

    Parameters
    ----------
    words : (..., n) int32
        The words; if `bits` does not divide 32, a code may span two of them.
    bits : int
        Bits per code, 1 to 8.

    Returns
    -------
    (..., n * 32 // bits) int32
        The codes, unsigned.
    """
    unsigned = np.ascontiguousarray(words).view(np.uint32)
    if 32 % bits == 0:
        shifts = np.arange(0, 32, bits, dtype=np.uint32)
        codes = (unsigned[..., None] >> shifts) & np.uint32((1 << bits) - 1)
        return codes.reshape(*words.shape[:-1], -1).astype(np.int32)
    as_bytes = unsigned.view(np.uint8).reshape(*words.shape[:-1], -1)
    flat = np.unpackbits(as_bytes, axis=-1, bitorder="little")
    usable = flat.shape[-1] // bits * bits
    grouped = flat[..., :usable].reshape(*words.shape[:-1], -1, bits)
    weights = (1 << np.arange(bits)).astype(np.int32)
    codes = (grouped.astype(np.int32) * weights).sum(-1, dtype=np.int32)
    return np.asarray(codes, np.int32)


def with_shape(tensor: CheckpointTensor, shape: tuple[int, ...]) -> CheckpointTensor:
    """Return a tensor of the same bytes with another shape."""
    return replace(tensor, shape=shape)
