"""Tensors of a GGUF file as the sources of inverse transforms, and chunks of what these make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ggufkit.converter.sources.base import Reader, SourceTensor
from ggufkit.converter.sources.gguf import GGUFSource
from ggufkit.mapping.inverse_matching import CheckpointTensorPlan
from ggufkit.mapping.transforms import Floats, Shape, n_rows

# Weights per chunk: 16 MiB as float32.
CHUNK_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class FileRows:
    """Tensors of a file, their rows counted as transforms count them."""

    tensors: tuple[SourceTensor, ...]
    readers: tuple[Reader, ...]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of each tensor."""
        return tuple(tensor.shape for tensor in self.tensors)

    def read(self, rows: slice, source: int = 0) -> Floats:
        """Return rows of one tensor; a vector's rows are its elements."""
        if len(self.tensors[source].shape) < 2:
            return self.readers[source].read(slice(0, 1)).reshape(-1)[rows]
        return self.readers[source].read(rows)


def rows_of(
    file: GGUFSource, tensors: Mapping[str, SourceTensor], plan: CheckpointTensorPlan
) -> FileRows:
    """Return the tensors that a checkpoint's tensor is made of."""
    parts = tuple(tensors[name] for name in plan.parts)
    return FileRows(parts, tuple(file.reader(part) for part in parts))


def row_chunks(shape: Shape) -> Iterator[slice]:
    """Yield slices of rows of a tensor, of at most `CHUNK_WEIGHTS` weights or one row."""
    height = n_rows(shape)
    width = shape[-1] if len(shape) > 1 else 1
    step = max(1, CHUNK_WEIGHTS // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))
