"""Rows of a checkpoint's tensors, after their transforms. Picklable: readers travel with tasks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ggufkit.checkpoint.quantized.mlx import refuse_moved_convolution
from ggufkit.checkpoint.safetensors import CheckpointTensor, Shard, expect_weights, read_float32
from ggufkit.codecs import dequantize
from ggufkit.errors import ShapeMismatchError
from ggufkit.gguf.limits import MAX_DIMS
from ggufkit.mapping.transforms import Floats, Transform, n_rows
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ggufkit.checkpoint import Checkpoint
    from ggufkit.mapping.matching import MappedTensor


# Safetensors dtype -> tensor type; anything else is widened to float32.
STORED = {"BF16": TensorType.BF16, "F16": TensorType.F16, "F32": TensorType.F32}


# Convolutions along the tokens, one for each channel.
DEPTHWISE = ("ssm_conv1d.weight", "shortconv.conv.weight")


@dataclass(frozen=True)
class ComputedReader:
    """Rows of a tensor that is computed from the config."""

    values: Floats

    def read(self, rows: slice) -> Floats:
        """Return the rows."""
        return self.values[rows]

    def read_blocks(self, rows: slice) -> None:
        """Return None: nothing is stored."""


@dataclass(frozen=True)
class CheckpointReader:
    """Rows of what a transform makes of checkpoint tensors, whose result has `shape`."""

    stored: tuple[CheckpointTensor, ...]
    transform: Transform
    shape: tuple[int, ...]
    in_blocks: bool = False

    def read(self, rows: slice) -> Floats:
        """Return the rows."""
        if len(self.shape) < 2:  # the only row of a vector is all of it
            return self._transformed(slice(0, n_rows(self.shape))).reshape(1, -1)
        return self._transformed(rows).reshape(-1, self.shape[-1])

    def _transformed(self, rows: slice) -> Floats:
        return np.ascontiguousarray(self.transform.apply(StoredRows(self.stored), rows), np.float32)

    def read_blocks(self, rows: slice) -> NDArray[np.uint8] | None:
        """Return the rows in blocks, if a quantized checkpoint's weights are blocks as they are."""
        if not self.in_blocks:
            return None
        try:
            # a transform that moves rows does not look into them
            return self.transform.apply(StoredBlocks(self.stored), rows)  # type: ignore[return-value]
        except _NeedsRoundingError:
            return None


@dataclass(frozen=True)
class BlockReader:
    """Rows of a tensor of a GGUF file, whose data start at the byte `offset`."""

    shard: Shard
    offset: int
    type: TensorType
    n_cols: int

    def read(self, rows: slice) -> Floats:
        """Return rows, decoded."""
        return dequantize(self.read_blocks(rows), self.type)

    def read_blocks(self, rows: slice) -> NDArray[np.uint8]:
        """Return rows as stored."""
        row_size = self.type.row_size(self.n_cols)
        data = np.empty((rows.stop - rows.start, row_size), np.uint8)
        self.shard.read_into(data.reshape(-1).data, self.offset + rows.start * row_size)
        return data


class _NeedsRoundingError(Exception):
    """Some rows can't be put into blocks without rounding."""


@dataclass(frozen=True)
class StoredRows:
    """Tensors of a checkpoint as the sources of a transform."""

    stored: tuple[CheckpointTensor, ...]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""
        return tuple(tensor.shape for tensor in self.stored)

    def read(self, rows: slice, source: int = 0) -> Floats:
        """Return rows of one of them, counted over all leading dimensions."""
        tensor = self.stored[source]
        if len(tensor.shape) != 2:  # the same bytes, as one tall matrix or one vector
            flat = (n_rows(tensor.shape), *tensor.shape[1:][-1:])
            tensor = replace(tensor, shape=flat)
        return read_float32(tensor, rows)


@dataclass(frozen=True)
class StoredBlocks(StoredRows):
    """The same tensors' blocks, each row as its bytes."""

    def read(self, rows: slice, source: int = 0) -> NDArray[Any]:
        """Return rows of one of them, (n_rows, row_size) bytes."""
        packing = self.stored[source].packing
        blocks = None if packing is None else packing.blocks(rows.start, rows.stop)
        if blocks is None:
            raise _NeedsRoundingError
        return blocks


def reader_of(
    checkpoint: Checkpoint, mapped: MappedTensor, shape: tuple[int, ...], in_blocks: bool = False
) -> CheckpointReader:
    """Return what reads rows of a tensor of a checkpoint, after its transform."""
    stored = tuple(checkpoint.tensors[name] for name in mapped.sources)
    return CheckpointReader(stored, mapped.transform, shape, in_blocks)


def shape_of(checkpoint: Checkpoint, mapped: MappedTensor) -> tuple[int, ...]:
    """Return the shape that a transform gives a tensor.

    Raises
    ------
    ShapeMismatchError
        The checkpoint's tensors do not fit; the message names the first.
    CheckpointError
        One is empty, or stored in codes whose meaning is not known.
    """
    stored = [checkpoint.tensors[name] for name in mapped.sources]
    for tensor in stored:
        expect_weights(tensor)
    if mapped.name.endswith(DEPTHWISE):
        refuse_moved_convolution(stored)
    try:
        shape = mapped.transform.shape(*(checkpoint.tensors[n].shape for n in mapped.sources))
    except ShapeMismatchError as error:
        raise ShapeMismatchError(f"{mapped.sources[0]}: {error}") from None
    if len(shape) > MAX_DIMS:
        raise ShapeMismatchError(
            f"{mapped.sources[0]}: {mapped.name} would have {len(shape)} dimensions, {shape}; a "
            f"GGUF file allows {MAX_DIMS}"
        )
    return shape


def source_type_of(checkpoint: Checkpoint, mapped: MappedTensor) -> TensorType:
    """Return the type that holds a tensor's values exactly, as far as floats do."""
    dtypes = {checkpoint.tensors[name].dtype for name in mapped.sources}
    return STORED.get(dtypes.pop(), TensorType.F32) if len(dtypes) == 1 else TensorType.F32
