"""MLX: codes of 2 to 8 bits in groups along a row, each with a float scale and a float bias.

::

    NAME.weight  U32, (..., n_rows, n_cols * bits / 32)   the lowest bits first; codes of 3, 5 and
                                                          6 bits may span two words
    NAME.scales  F16 | BF16 | F32, (..., n_rows, n_cols / group_size)
    NAME.biases  likewise

    w = scale * code + bias

``quantization`` of config.json has ``bits`` and ``group_size``, and under a module's name those of
this module, where they differ; the shapes alone do not tell the one from the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.packed import FLOATS, unpack, with_shape
from ggufkit.checkpoint.quantized.view import PlainView, described, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_float32, read_raw
from ggufkit.errors import CheckpointError
from ggufkit.types import TensorType

BITS = (2, 3, 4, 5, 6, 8)
GROUP_SIZES = (16, 32, 64, 128)
BLOCK = 32
#: Bits of a code -> the tensor type that has w = d * code + m with as many bits or more.
LOSSLESS = dict.fromkeys((2, 3, 4), TensorType.Q4_1) | {5: TensorType.Q5_1}


@dataclass(frozen=True)
class MLX(QuantizedWeight):
    """A weight of codes with a scale and a bias per group; its rows count over all dimensions."""

    codes: CheckpointTensor  # (n_rows, n_words)
    scales: CheckpointTensor  # (n_rows, n_groups)
    biases: CheckpointTensor
    bits: int
    group_size: int

    @property
    def lossless_type(self) -> TensorType | None:
        """Q4_1 or Q5_1, if groups are whole blocks."""
        return None if self.group_size % BLOCK else LOSSLESS.get(self.bits)

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows as float32: the product is exact in float64, the sum is rounded once."""
        codes, scales, biases = self._parts(start, stop)
        grouped = codes.reshape(*scales.shape, self.group_size)
        values = grouped * scales[..., None].astype(np.float64) + biases[..., None]
        return values.reshape(stop - start, -1).astype(np.float32)

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Return rows as blocks, or None if float16 does not hold a scale or a bias."""
        if self.lossless_type is None:
            return None
        codes, scales, biases = self._parts(start, stop)
        with np.errstate(over="ignore"):
            halves = [values.astype("<f2") for values in (scales, biases)]
        exact = zip(halves, (scales, biases), strict=True)
        if any((half.astype(np.float32) != values).any() for half, values in exact):
            return None
        per_group = self.group_size // BLOCK
        dm = np.stack([np.repeat(half, per_group, axis=1) for half in halves], axis=-1)
        head = dm.view(np.uint8)  # (n_rows, n_blocks, 4)
        blocks = codes.reshape(stop - start, -1, BLOCK).astype(np.uint8)
        low = blocks & 15
        parts = [head, low[..., :16] | low[..., 16:] << 4]
        if self.lossless_type is TensorType.Q5_1:
            parts.insert(1, np.packbits(blocks >> 4, axis=-1, bitorder="little"))
        return np.concatenate(parts, axis=-1).reshape(stop - start, -1)

    def _parts(self, start: int, stop: int) -> tuple[NDArray[np.int32], Floats, Floats]:
        some = slice(start, stop)
        codes = unpack(read_raw(self.codes, some), self.bits)
        return codes, read_float32(self.scales, some), read_float32(self.biases, some)


def find(view: PlainView, config: Mapping[str, Any]) -> str:
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The config does not say how, or parts are missing or do not fit.
    """
    found: set[tuple[int, int]] = set()
    refuse_moved_convolution(view.stored.values())
    for stem, codes in view.with_suffix(".weight"):
        if codes.dtype != "U32" or f"{stem}.scales" not in view.stored:
            continue
        bits, size = _settings(config, stem)
        view.put(codes.name, codes, *_weight(view, stem, codes, bits, size))
        view.hide(stem, (".scales", ".biases"))
        found.add((bits, size))
    kinds = ", ".join(f"{bits} bits in groups of {size}" for bits, size in sorted(found))
    return f"MLX, {kinds}, dequantized"


def refuse_moved_convolution(tensors: Iterable[CheckpointTensor]) -> None:
    """Check that no convolution is (channels, width, 1) instead of torch's (channels, 1, width).

    Raises
    ------
    CheckpointError
        One is.
    """
    for tensor in tensors:
        shape = tensor.shape
        if "conv" in tensor.name and len(shape) == 3 and shape[1] > 1 and shape[2] == 1:
            raise CheckpointError(
                f"{described(tensor)}: MLX transposes convolutions, and its converter changes "
                "other weights of such models; use the original model"
            )


def _settings(config: Mapping[str, Any], stem: str) -> tuple[int, int]:
    """Return the bits and the group size of a module."""
    own = config.get(stem)
    given = {**config, **own} if isinstance(own, Mapping) else config
    bits, size, mode = given.get("bits"), given.get("group_size"), given.get("mode", "affine")
    if mode != "affine":
        raise CheckpointError(
            f"config.json: MLX's mode {str(mode)[:20]!r} of {stem} can't be read, only 'affine'. "
            "Use the original model"
        )
    if bits not in BITS or size not in GROUP_SIZES:
        raise CheckpointError(
            f"{stem}: weights quantized by MLX, but config.json gives bits {str(bits)[:20]} and "
            f"group_size {str(size)[:20]} for them, expected one of {BITS} and of {GROUP_SIZES}; "
            'take config.json from the same repository, it has them under "quantization"'
        )
    return int(bits), int(size)


def _weight(
    view: PlainView, stem: str, codes: CheckpointTensor, bits: int, size: int
) -> tuple[tuple[int, ...], MLX]:
    scales, biases = view.part(f"{stem}.scales"), view.part(f"{stem}.biases")
    leading = codes.shape[:-1]
    n_words = codes.shape[-1] if codes.shape else 0
    n_cols = n_words * 32 // bits
    if len(codes.shape) < 2 or n_words * 32 % bits or n_cols % size:
        raise CheckpointError(
            f"{described(codes)}, which does not hold rows of {bits} bits in groups of {size}"
        )
    for part in (scales, biases):
        expect(part, (*leading, n_cols // size), FLOATS)
    n_rows = prod(leading)
    scales, biases = (with_shape(part, (n_rows, n_cols // size)) for part in (scales, biases))
    packed = MLX(with_shape(codes, (n_rows, n_words)), scales, biases, bits, size)
    return (*leading, n_cols), packed
