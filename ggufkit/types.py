"""Tensor types, value types and file types: one row per type; and names of plain Python types.

The numbers are those of ``ggml_type`` (ggml.h), ``gguf_type`` (gguf.h) and ``llama_ftype``
(llama.h). How big a type is belongs here; what its bits mean belongs to `ggufkit.codecs`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Literal, TypeAlias

Shape: TypeAlias = tuple[int, ...]
"""In numpy order: the last dimension is a row."""
Progress: TypeAlias = Callable[[int], None]
"""Is called, from any thread, with the bytes or tasks that were done since the last call."""

FloatName: TypeAlias = Literal["f32", "f16", "bf16"]
OutType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0"]
"""``--outtype`` of llama.cpp's converters, for files that are not quantized any further."""
Search: TypeAlias = Literal["ggml", "thorough"]
"""How scales are found, see `ggufkit.codecs.quantize`."""
NonFinite: TypeAlias = Literal["error", "zero", "keep"]
"""What becomes of weights that are NaN or infinite: an error; they become 0; they stay."""


class TensorType(IntEnum):
    """How a tensor's weights are stored (``ggml_type``).

    Attributes
    ----------
    block_size : int
        Weights per block.
    type_size : int
        Bytes per block.

    Examples
    --------
    >>> TensorType.Q4_K.block_size, TensorType.Q4_K.type_size, TensorType.Q4_K.bits_per_weight
    (256, 144, 4.5)
    """

    block_size: int
    type_size: int

    def __new__(cls, number: int, block_size: int, type_size: int) -> TensorType:  # noqa: D102
        member = int.__new__(cls, number)
        member._value_ = number
        member.block_size = block_size
        member.type_size = type_size
        return member

    F32 = 0, 1, 4
    F16 = 1, 1, 2
    Q4_0 = 2, 32, 18
    Q4_1 = 3, 32, 20
    Q5_0 = 6, 32, 22
    Q5_1 = 7, 32, 24
    Q8_0 = 8, 32, 34
    Q8_1 = 9, 32, 36
    Q2_K = 10, 256, 84
    Q3_K = 11, 256, 110
    Q4_K = 12, 256, 144
    Q5_K = 13, 256, 176
    Q6_K = 14, 256, 210
    Q8_K = 15, 256, 292
    IQ2_XXS = 16, 256, 66
    IQ2_XS = 17, 256, 74
    IQ3_XXS = 18, 256, 98
    IQ1_S = 19, 256, 50
    IQ4_NL = 20, 32, 18
    IQ3_S = 21, 256, 110
    IQ2_S = 22, 256, 82
    IQ4_XS = 23, 256, 136
    I8 = 24, 1, 1
    I16 = 25, 1, 2
    I32 = 26, 1, 4
    I64 = 27, 1, 8
    F64 = 28, 1, 8
    IQ1_M = 29, 256, 56
    BF16 = 30, 1, 2
    TQ1_0 = 34, 256, 54
    TQ2_0 = 35, 256, 66
    MXFP4 = 39, 32, 17
    NVFP4 = 40, 64, 36
    Q1_0 = 41, 128, 18
    Q2_0 = 42, 64, 18

    @classmethod
    def unknown(cls, number: int) -> TensorType:
        """Return a stand-in for a type that is newer than this table.

        It can be named and copied, not decoded: its block size is 1 and its type size 0, and how
        many bytes a tensor of it takes only the file's offsets tell.
        """
        member = int.__new__(cls, number)
        member._name_ = f"TYPE_{number}"
        member._value_ = number
        member.block_size, member.type_size = 1, 0
        return member

    @property
    def is_known(self) -> bool:
        """Whether the table of types has it."""
        return self.type_size > 0

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes, its share of the scales included."""
        return self.type_size * 8 / self.block_size

    @property
    def is_quantized(self) -> bool:
        """Whether weights share a block's scales (``ggml_is_quantized``)."""
        return self.block_size > 1

    def row_size(self, n_cols: int) -> int:
        """Bytes of a row of `n_cols` weights, which must be whole blocks."""
        return n_cols // self.block_size * self.type_size


class ValueType(IntEnum):
    """How a metadata value is stored (``gguf_type``)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


class FileType(IntEnum):
    """What most of a file's tensors are (``llama_ftype``, the key ``general.file_type``)."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q8_0 = 7
    Q5_0 = 8
    Q5_1 = 9
    Q2_K = 10
    Q3_K_S = 11
    Q3_K_M = 12
    Q3_K_L = 13
    Q4_K_S = 14
    Q4_K_M = 15
    Q5_K_S = 16
    Q5_K_M = 17
    Q6_K = 18
    IQ2_XXS = 19
    IQ2_XS = 20
    Q2_K_S = 21
    IQ3_XS = 22
    IQ3_XXS = 23
    IQ1_S = 24
    IQ4_NL = 25
    IQ3_S = 26
    IQ3_M = 27
    IQ2_S = 28
    IQ2_M = 29
    IQ4_XS = 30
    IQ1_M = 31
    BF16 = 32
    TQ1_0 = 36
    TQ2_0 = 37
    MXFP4_MOE = 38
    NVFP4 = 39
    Q1_0 = 40
    Q2_0 = 41
