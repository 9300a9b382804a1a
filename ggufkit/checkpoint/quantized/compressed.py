"""compressed-tensors, as written by llm-compressor, in the layouts that `format` names.

::

    pack-quantized
      NAME.weight_packed      I32, (n_rows, n_cols * bits / 32)   rounded up; lowest bits first
      NAME.weight_shape       I64, (2,)
      NAME.weight_scale       F16 | BF16 | F32, (n_rows, n_groups), (n_rows, 1) or (1,)
      NAME.weight_zero_point  I32, (n_rows * bits / 32, n_groups)   packed along the rows; optional
      NAME.weight_g_idx       I32, (n_cols,)   the group of each column; optional, all -1 if unused
      w = scale * (code - zero), where code and zero are stored with 2**(bits - 1) added
    int-quantized, naive-quantized
      NAME.weight             I8, (n_rows, n_cols), with weight_scale and weight_zero_point I8
    float-quantized, mxfp8-quantized
      NAME.weight             F8_E4M3, with weight_scale per tensor, row, group or block
    nvfp4-pack-quantized
      NAME.weight_packed      U8, (n_rows, n_cols / 2), see `fp4`
      NAME.weight_scale       F8_E4M3, (n_rows, n_cols / 16)
      NAME.weight_global_scale  F32, (1,)      w = E2M1(code) * scale / global_scale
    mxfp4-pack-quantized
      NAME.weight_packed      U8, (n_rows, n_cols / 2), with weight_scale U8, (n_rows, n_cols / 32)

The parts of each weight tell its layout, so that mixed-precision checkpoints are read, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.checkpoint.quantized import fp4, fp8
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.integers import Codes, Integers, lossless_type_of, scale_rows
from ggufkit.checkpoint.quantized.packed import E8M0, FLOATS, floats, unpack, whole
from ggufkit.checkpoint.quantized.view import PlainView, described, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_raw
from ggufkit.errors import CheckpointError
from ggufkit.types import TensorType

FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
    "mixed-precision",
    "dense",
)
#: Suffixes of parts, after NAME.weight_.
PARTS = ("packed", "shape", "scale", "zero_point", "g_idx", "global_scale")
ELSEWHERE = (
    *fp8.ELSEWHERE,
    *(".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point"),
)
BITS = range(1, 9)


@dataclass(frozen=True)
class Sizes:
    """Bits, group sizes and block shape of all config groups; a weight uses those that fit."""

    bits: tuple[int, ...]
    groups: tuple[int, ...]
    block: tuple[int, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sizes:
        """Read ``config_groups``.

        Raises
        ------
        CheckpointError
            A size is not a positive integer.
        """
        given = config.get("config_groups")
        groups = given.values() if isinstance(given, Mapping) else ()
        every = [group.get("weights") for group in groups if isinstance(group, Mapping)]
        weights = [each for each in every if isinstance(each, Mapping)]
        sizes = [size for w in weights if (size := w.get("group_size")) not in (None, -1)]
        bits = {n for w in weights if type(n := w.get("num_bits")) is int and n in BITS}
        block = next((b for w in weights if (b := w.get("block_structure"))), list(fp8.BLOCK))
        if not all(type(size) is int and 0 < size < 1 << 31 for size in sizes):
            raise CheckpointError(
                f"config.json: group_size is {str(sizes)[:60]}, expected positive integers"
            )
        counts = block if isinstance(block, list) and len(block) == 2 else [0]
        if not all(type(n) is int and n > 0 for n in counts):
            raise CheckpointError(
                f"config.json: block_structure is {str(block)[:60]}, expected two positive integers"
            )
        return cls(tuple(sorted(bits)) or tuple(BITS), tuple(sizes), tuple(block))


@dataclass(frozen=True)
class Grouped(Integers):
    """A weight of integers, packed into words or one per byte.

    Attributes
    ----------
    stored, scale : CheckpointTensor
        The codes and their scales.
    zero : CheckpointTensor or None
        The zero points; packed if the codes are.
    g_idx : CheckpointTensor or None
        The group of each column.
    bits : int
        Bits per code.
    n_cols, group_size : int
        Columns of the weight, and of a group.
    """

    stored: CheckpointTensor
    scale: CheckpointTensor
    zero: CheckpointTensor | None
    g_idx: CheckpointTensor | None
    bits: int
    n_cols: int
    group_size: int

    @property
    def lossless_type(self) -> TensorType | None:
        """Q4_0 or Q8_0, if groups are whole blocks without zero points."""
        plain = self.zero is None and self.g_idx is None
        return lossless_type_of(self.bits, self.group_size) if plain else None

    def codes(self, start: int, stop: int) -> Codes:
        """Return the codes of rows."""
        values: NDArray[Any] = read_raw(self.stored, slice(start, stop))
        offset = 1 << self.bits - 1
        if self.stored.dtype == "I32":
            values = unpack(values, self.bits)[:, : self.n_cols] - offset
        scales = scale_rows(floats(self.scale), start, stop)
        zeros = self._zeros(start, stop, offset)
        return Codes(values, scales, zeros, self._groups(scales.shape[1]))

    def _zeros(self, start: int, stop: int, offset: int) -> NDArray[Any] | int:
        if self.zero is None:
            return 0
        zeros = whole(self.zero)
        if self.zero.dtype == "I32":
            zeros = unpack(np.ascontiguousarray(zeros.T), self.bits).T - offset
        return scale_rows(zeros, start, stop)

    def _groups(self, n_groups: int) -> NDArray[Any]:
        plain = np.arange(self.n_cols) // self.group_size
        if self.g_idx is None:
            return plain
        group = whole(self.g_idx).astype(np.int64)
        if (group == -1).all():
            return plain
        if not (group.min() >= 0 and group.max() < n_groups):
            raise CheckpointError(
                f"{self.g_idx.name}: values from {group.min()} to {group.max()}, "
                f"expected 0..{n_groups - 1}"
            )
        return group


def find(view: PlainView, config: Mapping[str, Any]) -> str:
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The format is not supported, or parts are missing or do not fit.
    """
    name_of_format = _check(config)
    sizes = Sizes.of(config)
    view.hidden.update(name for name in view.stored if name.endswith(ELSEWHERE))
    for name, tensor in view.stored.items():
        if name.endswith(".weight_packed"):
            weight = name.removesuffix("_packed")
            view.put(weight, tensor, *_packed(view, tensor, sizes))
        elif name.endswith(".weight") and f"{name}_scale" in view.stored:
            weight = name
            # a checkpoint that is calibrated but not compressed has floats next to their scales
            if tensor.dtype in ("I8", *fp8.TABLES):
                view.put(weight, tensor, *_plain(view, tensor, sizes))
        else:
            continue
        view.hide(f"{weight}_", PARTS)
    return f"compressed-tensors, {name_of_format}, dequantized"


def _check(config: Mapping[str, Any]) -> str:
    given = str(config.get("format") or "dense")
    sparsity = config.get("sparsity_config")
    sparse = str(sparsity.get("format") or "dense") if isinstance(sparsity, Mapping) else "dense"
    for each in (given, sparse):
        if each not in FORMATS:
            raise CheckpointError(
                f"config.json: compressed-tensors of the format {each[:40]!r} can't be read; known "
                f"are {', '.join(FORMATS)}. Use the original model, or save it dequantized"
            )
    return given


def _packed(
    view: PlainView, stored: CheckpointTensor, sizes: Sizes
) -> tuple[tuple[int, ...], QuantizedWeight]:
    weight = stored.name.removesuffix("_packed")
    scale = view.part(f"{weight}_scale")
    if stored.dtype == "U8" and scale.dtype in E8M0:
        return fp4.mxfp4(stored, scale)
    if stored.dtype == "U8":
        factor = view.part(f"{weight}_global_scale")
        return fp4.nvfp4(stored, scale, factor, inverse=True)
    n_rows, n_cols, bits = _shape(view.part(f"{weight}_shape"), stored, sizes)
    zero, g_idx = (view.stored.get(f"{weight}_{each}") for each in ("zero_point", "g_idx"))
    n_groups = _n_groups(scale, n_rows)
    if zero is not None and zero.dtype == "I32":
        expect(zero, (-(-n_rows * bits // 32), n_groups), ("I32",))
    elif zero is not None:
        expect(zero, scale.shape, ("I8",))
    if g_idx is not None:
        expect(g_idx, (n_cols,), ("I32", "I64"))
    size = _group_size(scale, n_cols, n_groups, sizes)
    return (n_rows, n_cols), Grouped(stored, scale, zero, g_idx, bits, n_cols, size)


def _shape(shape: CheckpointTensor, stored: CheckpointTensor, sizes: Sizes) -> tuple[int, int, int]:
    """Return rows, columns and bits per code."""
    expect(shape, (2,), ("I64", "I32"))
    n_rows, n_cols = (int(n) for n in whole(shape))
    fitting = [bits for bits in sizes.bits if -(-n_cols * bits // 32) == (*stored.shape, 0, 0)[1]]
    if stored.dtype != "I32" or len(stored.shape) != 2 or stored.shape[0] != n_rows or not fitting:
        raise CheckpointError(
            f"{described(stored)}, which does not hold a weight of shape ({n_rows}, {n_cols})"
        )
    return n_rows, n_cols, fitting[0]


def _n_groups(scale: CheckpointTensor, n_rows: int) -> int:
    if scale.dtype not in FLOATS:
        raise CheckpointError(
            f"{scale.shard.path}: tensor {scale.name!r} is {scale.dtype}, expected one of "
            f"{', '.join(FLOATS)}"
        )
    if scale.shape in ((), (1,), (1, 1), (n_rows,)):
        return 1
    if len(scale.shape) == 2 and scale.shape[0] == n_rows and scale.shape[1]:
        return scale.shape[1]
    raise CheckpointError(
        f"{scale.shard.path}: tensor {scale.name!r} has shape {scale.shape}, which does not fit a "
        f"weight of {n_rows} rows"
    )


def _group_size(scale: CheckpointTensor, n_cols: int, n_groups: int, sizes: Sizes) -> int:
    if n_groups == 1:
        return max(1, n_cols)
    if not sizes.groups and n_cols % n_groups == 0:  # no config, but no other size fits
        return n_cols // n_groups
    fitting = [size for size in sizes.groups if -(-n_cols // size) == n_groups]
    if not fitting:
        known = " and ".join(map(str, sizes.groups)) or "no size"
        raise CheckpointError(
            f"{scale.shard.path}: tensor {scale.name!r} has {n_groups} groups for {n_cols} "
            f"columns, but config.json names groups of {known}"
        )
    return fitting[0]


def _plain(
    view: PlainView, stored: CheckpointTensor, sizes: Sizes
) -> tuple[tuple[int, ...], QuantizedWeight]:
    """Return the shape and the weight of a tensor that is not packed into words."""
    scale, zero = view.stored[f"{stored.name}_scale"], view.stored.get(f"{stored.name}_zero_point")
    if len(stored.shape) != 2:
        raise CheckpointError(
            f"{stored.shard.path}: tensor {stored.name!r} has shape {stored.shape}, expected a "
            "quantized weight of two dimensions"
        )
    n_rows, n_cols = stored.shape
    if stored.dtype in fp8.TABLES:
        groups = [(1, size) for size in sizes.groups if scale.shape == (n_rows, -(-n_cols // size))]
        return stored.shape, fp8.scaled(stored, scale, groups[0] if groups else sizes.block)
    if zero is not None:
        expect(zero, scale.shape, ("I8",))
    size = _group_size(scale, n_cols, _n_groups(scale, n_rows), sizes)
    return stored.shape, Grouped(stored, scale, zero, None, 8, n_cols, size)
