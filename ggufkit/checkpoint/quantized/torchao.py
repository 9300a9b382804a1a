"""torchao: tensor subclasses, flattened into their parts as in safetensors.

::

    int4, plain       NAME._weight_qdata       U8 or I8, (n_rows, n_cols / 2)   low nibble first
                      NAME._weight_scale       floats, (n_groups, n_rows)
                      NAME._weight_zero_point  floats, likewise
                      w = (code as -8 ... 7) * scale + zero_point
    int8              NAME._weight_qdata       I8, (n_rows, n_cols)
                      NAME._weight_scale       floats, (n_rows, 1), (n_rows,), or (1, 1)
                      NAME._weight_zero_point  I8, likewise; optional
    intx, unpacked    NAME._weight_qdata       I8, (n_rows, n_cols), for 1 to 8 bits
                      NAME._weight_scale       floats, (n_rows, n_groups)
                      NAME._weight_zero_point  I8, likewise
                      w = (code - zero_point) * scale
    float8            NAME._weight_qdata       F8_E4M3 or F8_E5M2, (n_rows, n_cols)
                      NAME._weight_scale       F32, (n_rows, 1), (1, 1), or per block

The dtypes and shapes of the parts tell the kind. Layouts for particular hardware (tiles,
preshuffled int4, swizzled scales) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized import fp8
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.fp4 import nibbles
from ggufkit.checkpoint.quantized.integers import Codes, Integers, lossless_type_of, scale_rows
from ggufkit.checkpoint.quantized.packed import FLOATS, floats, whole
from ggufkit.checkpoint.quantized.view import PlainView, described, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_bytes_of, read_raw
from ggufkit.errors import CheckpointError
from ggufkit.types import TensorType

_QDATA = re.compile(r"(.*)\._([A-Za-z0-9_]+)_qdata")
_PARTS = ("qdata", "scale", "zero_point", "act_quant_scale", "act_quant_zero_point")


@dataclass(frozen=True)
class Int4(Integers):
    """A weight in groups of 4-bit integers; each group has a scale and a float zero point."""

    qdata: CheckpointTensor
    scale: CheckpointTensor
    zero_point: CheckpointTensor
    group_size: int

    @property
    def lossless_type(self) -> TensorType | None:
        """Q4_0, if groups are whole blocks; zero points have to be 0, too."""
        return lossless_type_of(4, self.group_size)

    def codes(self, start: int, stop: int) -> Codes:
        """Return the codes of rows."""
        values = nibbles(read_bytes_of(self.qdata, slice(start, stop))).astype(np.int32)
        signed = (values ^ 8) - 8
        group = np.arange(values.shape[1]) // self.group_size
        return Codes(signed, floats(self.scale)[:, start:stop].T, 0, group)

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        codes = self.codes(start, stop)
        dequantized: Floats = codes.dequantized() + self._added(start, stop)[:, codes.group]
        return dequantized

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Return rows as Q4_0 blocks, or None if they would have to be rounded."""
        return None if self._added(start, stop).any() else super().blocks(start, stop)

    def _added(self, start: int, stop: int) -> Floats:
        return floats(self.zero_point)[:, start:stop].T


@dataclass(frozen=True)
class TorchaoInt8(Integers):
    """A weight of one-byte integers."""

    qdata: CheckpointTensor
    scale: CheckpointTensor
    zero_point: CheckpointTensor | None
    group_size: int

    @property
    def lossless_type(self) -> TensorType | None:
        """Q8_0, if groups are whole blocks; zero points have to be 0, too."""
        return lossless_type_of(8, self.group_size)

    def codes(self, start: int, stop: int) -> Codes:
        """Return the codes of rows."""
        values = read_raw(self.qdata, slice(start, stop))
        scales = scale_rows(floats(self.scale), start, stop)
        zeros: NDArray[Any] | int = 0
        if self.zero_point is not None:
            zeros = scale_rows(whole(self.zero_point), start, stop)
        return Codes(values, scales, zeros, np.arange(values.shape[1]) // self.group_size)


def find(view: PlainView, config: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The layout is not supported, or parts are missing or do not fit.
    """
    for name, qdata in view.stored.items():
        match = _QDATA.fullmatch(name)
        if match is None:
            continue
        weight, stem = f"{match[1]}.{match[2]}", name.removesuffix("qdata")
        if f"{stem}act_pre_scale" in view.stored:
            raise CheckpointError(
                f"{weight}: torchao's AWQ (act_pre_scale) can't be read; use the original model, "
                "or save it dequantized"
            )
        view.put(weight, qdata, *_weight(view, stem, qdata))
        view.hide(stem, _PARTS)
    return "torchao, dequantized"


def _weight(
    view: PlainView, stem: str, qdata: CheckpointTensor
) -> tuple[tuple[int, ...], QuantizedWeight]:
    scale = view.stored.get(f"{stem}scale")
    if scale is None or len(qdata.shape) != 2 or not qdata.shape[1]:
        raise _unknown(qdata)
    zero = view.stored.get(f"{stem}zero_point")
    if qdata.dtype in fp8.TABLES:
        return qdata.shape, fp8.scaled(qdata, scale, _block(qdata.shape, scale.shape))
    if qdata.dtype in ("U8", "I8") and zero is not None and zero.dtype in FLOATS:
        return _int4(qdata, scale, zero)
    if qdata.dtype != "I8":
        raise _unknown(qdata)
    if zero is not None:
        expect(zero, scale.shape, ("I8",))
    n_rows, n_cols = qdata.shape
    n_groups = scale.shape[1] if len(scale.shape) == 2 else 1
    fits = scale.shape in ((), (1,), (1, 1), (n_rows,), (n_rows, n_groups))
    if not fits or not n_groups or n_cols % n_groups or scale.dtype not in FLOATS:
        raise _misfit(qdata, scale)
    return qdata.shape, TorchaoInt8(qdata, scale, zero, n_cols // n_groups)


def _int4(
    qdata: CheckpointTensor, scale: CheckpointTensor, zero: CheckpointTensor
) -> tuple[tuple[int, ...], Int4]:
    n_rows, n_cols = qdata.shape[0], qdata.shape[1] * 2
    n_groups = scale.shape[0] if len(scale.shape) == 2 else 0
    if not n_groups or n_cols % n_groups or scale.shape[1] != n_rows or scale.dtype not in FLOATS:
        raise _misfit(qdata, scale)
    expect(zero, scale.shape, FLOATS)
    return (n_rows, n_cols), Int4(qdata, scale, zero, n_cols // n_groups)


def _block(shape: tuple[int, ...], scales: tuple[int, ...]) -> tuple[int, ...]:
    """Return the rows and columns that share a scale; () if the shapes do not fit."""
    if len(scales) != 2 or not all(scales) or shape[0] % scales[0] or shape[1] % scales[1]:
        return ()
    return shape[0] // scales[0], shape[1] // scales[1]


def _unknown(qdata: CheckpointTensor) -> CheckpointError:
    return CheckpointError(
        f"{described(qdata)}: a layout of torchao that can't be read; known are plain int4, int8, "
        "intx and float8. Use the original model, or save it dequantized"
    )


def _misfit(qdata: CheckpointTensor, scale: CheckpointTensor) -> CheckpointError:
    return CheckpointError(
        f"{described(scale)}, which does not fit a weight of {qdata.dtype} of shape {qdata.shape}"
    )
