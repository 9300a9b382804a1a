"""Tensors of a GGUF file as the sources of the ways back, and stretches of what these make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ggufkit.converter.sources.base import Reader, SourceTensor
from ggufkit.converter.sources.gguf import GGUFSource
from ggufkit.mapping.inverse_matching import CheckpointTensorPlan
from ggufkit.mapping.transforms import Floats, Shape, n_rows

# Weights that are worked on at once: 16 MiB as float32.
STRETCH = 1 << 22


@dataclass(frozen=True)
class FileRows:
    """Tensors of a file, their rows counted as transforms count them."""

    tensors: tuple[SourceTensor, ...]
    readers: tuple[Reader, ...]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Their shapes."""
        return tuple(tensor.shape for tensor in self.tensors)

    def read(self, rows: slice, source: int = 0) -> Floats:
        """Return rows of one of them; a vector's rows are its elements."""
        if len(self.tensors[source].shape) < 2:
            return self.readers[source].read(slice(0, 1)).reshape(-1)[rows]
        return self.readers[source].read(rows)


def rows_of(
    file: GGUFSource, tensors: Mapping[str, SourceTensor], origin: CheckpointTensorPlan
) -> FileRows:
    """Return the rows of what a checkpoint's tensor is made of."""
    parts = tuple(tensors[name] for name in origin.parts)
    return FileRows(parts, tuple(file.reader(part) for part in parts))


def stretches(shape: Shape) -> Iterator[slice]:
    """Yield slices of rows of a tensor, none of much more than `STRETCH` weights."""
    height = n_rows(shape)
    width = shape[-1] if len(shape) > 1 else 1
    step = max(1, STRETCH // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(height, start + step))


def values_of(origin: CheckpointTensorPlan, rows: FileRows, stretch: slice) -> Floats:
    """Return some rows of a checkpoint's tensor, before its arithmetic is undone."""
    return origin.way.transform.apply(rows, stretch)
