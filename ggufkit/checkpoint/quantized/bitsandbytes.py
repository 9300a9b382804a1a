"""bitsandbytes: NF4 and FP4 in blocks that share a largest absolute value, and LLM.int8.

::

    NAME.weight                    U8, (n / 2, 1)      two codes a byte, the upper nibble first
    NAME.weight.absmax             F32, (n_blocks,)    or U8, quantized once more:
    NAME.weight.nested_absmax      F32                 absmax = nested_quant_map[code]
    NAME.weight.nested_quant_map   F32, (256,)                  * nested_absmax[block / 256] + o
    NAME.weight.quant_map          F32, (16,)          w = quant_map[code] * absmax[i / blocksize]
    NAME.weight.quant_state.bitsandbytes__nf4          U8: JSON with shape, blocksize, offset ...

    NAME.weight  I8, (n_rows, n_cols)    NAME.SCB  F32, (n_rows,)      w = q * SCB / 127
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.packed import floats, whole, with_shape
from ggufkit.checkpoint.quantized.view import PlainView, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_raw
from ggufkit.errors import CheckpointError
from ggufkit.io.guarded_files import parse_json

STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")
MAX_STATE_BYTES = 1 << 16


@dataclass(frozen=True)
class FourBit(QuantizedWeight):
    """A weight in blocks of 4-bit codes, in row-major order; blocks may span rows."""

    codes: CheckpointTensor  # (n / 2,)
    values: CheckpointTensor
    absmax: CheckpointTensor
    nested: tuple[CheckpointTensor, CheckpointTensor] | None
    n_cols: int
    block_size: int
    nested_block_size: int
    offset: float

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        first, last = start * self.n_cols, stop * self.n_cols
        packed = read_raw(self.codes, slice(first // 2, -(-last // 2)))
        codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
        codes = codes[first % 2 :][: last - first]
        block = np.arange(first, last) // self.block_size
        scale = self._absmax()[block]
        return (floats(self.values)[codes] * scale).reshape(stop - start, self.n_cols)

    def _absmax(self) -> Floats:
        if self.nested is None:
            return floats(self.absmax)
        scales, values = (floats(tensor) for tensor in self.nested)
        codes = whole(self.absmax)
        block = np.arange(codes.size) // self.nested_block_size
        return np.asarray(values[codes] * scales[block] + np.float32(self.offset), np.float32)


@dataclass(frozen=True)
class BitsAndBytesInt8(QuantizedWeight):
    """A weight of 8-bit integers with a scale per row."""

    weight: CheckpointTensor
    scale: CheckpointTensor

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32."""
        scale = floats(self.scale)[start:stop, None] / np.float32(127)
        return read_raw(self.weight, slice(start, stop)).astype(np.float32) * scale


def find(view: PlainView, config: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        Parts are missing or do not fit.
    """
    kinds: set[str] = set()
    for name, tensor in view.stored.items():
        stem = name.removesuffix(".weight")
        state = next((s for s in STATES if f"{name}.quant_state.{s}" in view.stored), None)
        if state is not None:
            view.put(name, tensor, *_four_bit(view, tensor, state))
            view.hidden.update(other for other in view.stored if other.startswith(f"{name}."))
            kinds.add(state[-3:].upper())
        elif tensor.dtype == "I8" and name != stem and f"{stem}.SCB" in view.stored:
            scale = view.stored[f"{stem}.SCB"]
            expect(scale, tensor.shape[:1], ("F32",))
            view.put(name, tensor, tensor.shape, BitsAndBytesInt8(tensor, scale))
            view.hide(stem, (".SCB", ".weight_format"))
            kinds.add("int8")
    return f"bitsandbytes {', '.join(sorted(kinds))}, dequantized"


def _four_bit(
    view: PlainView, tensor: CheckpointTensor, state: str
) -> tuple[tuple[int, ...], FourBit]:
    name = tensor.name
    facts = _state(view.part(f"{name}.quant_state.{state}"))
    shape, block = facts.get("shape"), facts.get("blocksize")
    given = [block, *shape] if isinstance(shape, list) else []
    counts = [n for n in given if type(n) is int and 0 < n < 1 << 40]
    if len(given) != 3 or len(counts) != 3:
        raise CheckpointError(f"{name}: its quant_state needs 'shape' (two sizes) and 'blocksize'")
    n = counts[1] * counts[2]
    if tensor.dtype != "U8" or tensor.nbytes != -(-n // 2):
        raise CheckpointError(
            f"{name}: {tensor.nbytes} bytes of {tensor.dtype}, but {n} weights of 4 bits take "
            f"{-(-n // 2)} bytes of U8"
        )
    absmax = view.part(f"{name}.absmax")
    n_blocks = -(-n // counts[0])
    expect(absmax, (n_blocks,), ("F32", "U8"))
    values = view.part(f"{name}.quant_map")
    expect(values, (16,), ("F32",))
    nested = None
    inner, offset = facts.get("nested_blocksize") or 256, facts.get("nested_offset") or 0.0
    if type(inner) is not int or inner < 1 or not isinstance(offset, int | float):
        raise CheckpointError(
            f"{name}: its quant_state has nested_blocksize {str(inner)[:40]} and nested_offset "
            f"{str(offset)[:40]}, expected a positive integer and a number"
        )
    if absmax.dtype == "U8":
        scales = view.part(f"{name}.nested_absmax")
        expect(scales, (-(-n_blocks // inner),), ("F32",))
        nested = scales, view.part(f"{name}.nested_quant_map")
        expect(nested[1], (256,), ("F32",))
    packed = FourBit(
        with_shape(tensor, (tensor.nbytes,)), values, absmax, nested, counts[2], counts[0],
        inner, float(offset),
    )  # fmt: skip
    return (counts[1], counts[2]), packed


def _state(tensor: CheckpointTensor) -> dict[str, Any]:
    if tensor.nbytes > MAX_STATE_BYTES or tensor.dtype != "U8":
        raise CheckpointError(
            f"{tensor.name}: {tensor.nbytes} bytes of {tensor.dtype}, expected a quant_state: at "
            f"most {MAX_STATE_BYTES} bytes of U8"
        )
    try:
        found = parse_json(read_raw(with_shape(tensor, (tensor.nbytes,))).tobytes())
    except ValueError as error:
        raise CheckpointError(f"{tensor.name}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{tensor.name}: its JSON is not an object")
    return found
