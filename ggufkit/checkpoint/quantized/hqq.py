"""HQQ: codes of 1 to 8 bits with float scales and zero points, in groups along either axis.

::

    NAME.W_q      U8 or I32, packed       or the same bytes viewed as floats (view_as_float)
    NAME.scale    F16 | BF16 | F32, one per group
    NAME.zero     likewise
    NAME.shape    I32 or I64, (2,): n_rows, n_cols
    NAME.axis, NAME.group_size, NAME.nbits   I32, ();  without group_size: rows or columns
    NAME.packing  U8: "8bit_u8", "4bit_u8", "3bit_32", "2bit_u8" or "1bit_u8"

The matrix is reshaped to M: (n / group_size, group_size) with axis 1, (group_size, n / group_size)
with axis 0; a group is a row or a column of M. k rows of M, spaced by a k-th of its height, share a
row of W_q; the first has the highest bits. With 3 bits, ten rows share an int32, and the number of
rows is padded to a multiple of ten.

    w = (code - zero) * scale
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.packed import FLOATS, floats, whole
from ggufkit.checkpoint.quantized.view import PlainView, expect
from ggufkit.checkpoint.safetensors import DTYPE_BITS, CheckpointTensor
from ggufkit.errors import CheckpointError

#: Packing -> bits of a code, codes per element, dtype of the elements.
PACKINGS = {
    "8bit_u8": (8, 1, "U8"),
    "4bit_u8": (4, 2, "U8"),
    "3bit_32": (3, 10, "I32"),
    "2bit_u8": (2, 4, "U8"),
    "1bit_u8": (1, 8, "U8"),
}
#: The tensors of a layer, except the bias.
PARTS = (
    *("W_q", "scale", "zero", "shape", "axis", "group_size", "nbits", "packing"),
    *("quant_scale", "quant_zero", "compute_dtype", "unpack_view_dtype", "view_as_float"),
    *("offload_meta", "encoded_state_dict", "stores_quant_config", "channel_wise", "optimize"),
    "round_zero",
)


@dataclass(frozen=True)
class HQQ(QuantizedWeight):
    """A weight of codes with float zero points.

    Attributes
    ----------
    codes, scale, zero : CheckpointTensor
        The parts.
    packing : str
        One of `PACKINGS`.
    n_cols : int
        Columns of the weight.
    height, width : int
        The shape of M.
    axis : {0, 1}
        The axis of M along which groups run.
    """

    codes: CheckpointTensor
    scale: CheckpointTensor
    zero: CheckpointTensor
    packing: str
    n_cols: int
    height: int
    width: int
    axis: int

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        first, last = start * self.n_cols, stop * self.n_cols
        top, bottom = first // self.width, -(-last // self.width)
        codes = self._codes(np.arange(top, bottom)).astype(np.float32)
        scale, zero = floats(self.scale).reshape(-1), floats(self.zero).reshape(-1)
        if self.axis == 1:
            scale, zero = scale[top:bottom, None], zero[top:bottom, None]
        values = ((codes - zero) * scale).reshape(-1)
        return values[first - top * self.width :][: last - first].reshape(-1, self.n_cols)

    def _codes(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the codes of rows of M."""
        bits, per_element, _ = PACKINGS[self.packing]
        packed = whole(self.codes)
        place, row = np.divmod(rows, len(packed))
        shift = (bits * (per_element - 1 - place)).astype(packed.dtype)
        found: NDArray[Any] = packed[row] >> shift[:, None] & ((1 << bits) - 1)
        return found


def find(view: PlainView, config: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        Parts are missing or do not fit, or the scales are quantized, too.
    """
    for stem, codes in view.with_suffix(".W_q"):
        view.put(f"{stem}.weight", codes, *_layer(view, stem, codes))
        view.hide(f"{stem}.", PARTS)
    return "HQQ, dequantized"


def _layer(view: PlainView, stem: str, codes: CheckpointTensor) -> tuple[tuple[int, ...], HQQ]:
    if _number(view, f"{stem}.quant_scale") or _number(view, f"{stem}.quant_zero"):
        raise CheckpointError(
            f"{stem}: HQQ with quantized scales or zero points can't be read; use the original "
            "model, or save it dequantized"
        )
    shape = _shape(view.part(f"{stem}.shape"))
    axis, size = _number(view, f"{stem}.axis"), _number(view, f"{stem}.group_size")
    n = prod(shape)
    if axis not in (0, 1) or (size is not None and not (0 < size <= n and n % size == 0)):
        raise CheckpointError(
            f"{stem}: HQQ with axis {axis} and groups of {size}; the axis must be 0 or 1, and the "
            f"group size a divisor of {n} weights"
        )
    height, width = shape if size is None else (n // size, size) if axis else (size, n // size)
    packing = _text(view.part(f"{stem}.packing"))
    codes = _viewed(stem, codes, packing, height, width)
    scale, zero = view.part(f"{stem}.scale"), view.part(f"{stem}.zero")
    for each in (scale, zero):
        expect(each, (height, 1) if axis else (1, width), FLOATS)
    return shape, HQQ(codes, scale, zero, packing, shape[1], height, width, axis)


def _viewed(
    stem: str, codes: CheckpointTensor, packing: str, height: int, width: int
) -> CheckpointTensor:
    """Return the packed codes with the dtype of their packing."""
    if packing not in PACKINGS:
        raise CheckpointError(
            f"{stem}: HQQ packing {packing[:20]!r}, expected one of {', '.join(PACKINGS)}"
        )
    _, per_element, dtype = PACKINGS[packing]
    if codes.dtype != dtype and codes.dtype in FLOATS:
        width_now = (*codes.shape, 0, 0)[1] * DTYPE_BITS[codes.dtype] // DTYPE_BITS[dtype]
        codes = replace(codes, dtype=dtype, shape=(codes.shape[0], width_now))
    padded = packing == "3bit_32"
    n_rows = -(-height // per_element)
    if not padded and height % per_element:
        raise CheckpointError(
            f"{stem}: HQQ packs {per_element} rows together, but {height} is not a multiple of that"
        )
    expect(codes, (n_rows, width), (dtype,))
    return codes


def _number(view: PlainView, name: str) -> int | None:
    """Return the integer that a tensor holds, or None without such a tensor."""
    tensor = view.stored.get(name)
    if tensor is None:
        return None
    if tensor.shape not in ((), (1,)) or tensor.dtype not in ("I32", "I64", "U8", "BOOL"):
        raise CheckpointError(
            f"{name}: {tensor.dtype} of shape {tensor.shape}, expected a single integer"
        )
    return int(whole(tensor).reshape(()))


def _shape(tensor: CheckpointTensor) -> tuple[int, int]:
    expect(tensor, (2,), ("I32", "I64"))
    n_rows, n_cols = (int(n) for n in whole(tensor))
    if n_rows < 1 or n_cols < 1:
        raise CheckpointError(f"{tensor.name}: ({n_rows}, {n_cols}), expected two positive sizes")
    return n_rows, n_cols


def _text(tensor: CheckpointTensor) -> str:
    if tensor.dtype != "U8" or tensor.nbytes > 64:
        raise CheckpointError(
            f"{tensor.name}: {tensor.nbytes} bytes of {tensor.dtype}, expected the packing's name"
        )
    return bytes(whole(tensor).reshape(-1)).decode("latin-1")
