"""What a ladder is made from: a checkpoint, or a GGUF file.

Both offer the same: tensors with the names and shapes of the GGUF file to write, metadata, and
any rows of any tensor as float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.gguf.naming import build_name
from ggufkit.types import FileType, Shape, TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ggufkit.checkpoint.safetensors import Shard
    from ggufkit.gguf.metadata import Metadata

QUANTIZATION = {"general.quantization_version": 2}  # GGML_QNT_VERSION
FILE_TYPE_KEY = "general.file_type"


@dataclass(frozen=True)
class SourceTensor:
    """A tensor to write.

    Attributes
    ----------
    name : str
        Its name in the GGUF file.
    shape : tuple of int
        In numpy order, as written.
    source_type : TensorType
        Its type in the source, or the nearest one that holds the source's values exactly.
    required_type : TensorType or None
        The type that a converter gives it whatever the file type: F32 for norms, biases and other
        small tensors.
    lossless_type : TensorType or None
        The block type that holds a quantized checkpoint's weights without rounding.
    """

    name: str
    shape: Shape
    source_type: TensorType
    required_type: TensorType | None = None
    lossless_type: TensorType | None = None

    @property
    def n_rows(self) -> int:
        """Rows, counted over all leading dimensions; none of a tensor without weights."""
        return prod(self.shape[:-1]) if all(self.shape) else 0

    @property
    def n_cols(self) -> int:
        """Weights per row."""
        return self.shape[-1] if self.shape else 1


class Reader(Protocol):
    """Reads rows of one tensor. Picklable, and small: it travels with every task."""

    def read(self, rows: slice) -> Floats:
        """Return rows, counted over all leading dimensions, as (n_rows, n_cols) float32."""

    def read_blocks(self, rows: slice) -> NDArray[np.uint8] | None:
        """Return rows as stored, (n_rows, row_size) bytes; None if they are not in blocks."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """What plans need of a source.

    Attributes
    ----------
    tensors : tuple of SourceTensor
        What there is to write, in the order of the source.
    origin : dict
        Where the weights come from, for provenance: kind, name, revision, and as ``identity`` a
        digest that changes when the source does.
    base_metadata : Metadata
        Metadata of the source's own file, built once; see `metadata`.
    file_types : tuple of FileType or None
        The only file types that it can have; None for a language model, which can have all.
    n_remote : int
        Bytes of weights that are read over the network, at most.
    cached_bytes : int
        Bytes of these that are kept in memory, at most.
    is_gguf : bool
        Whether it is a GGUF file already.
    """

    tensors: tuple[SourceTensor, ...]
    origin: dict[str, Any]
    base_metadata: Metadata
    file_types: tuple[FileType, ...] | None = None
    n_remote: int = 0
    cached_bytes: int = 0
    is_gguf: ClassVar[bool] = False

    @property
    def config_keys(self) -> Mapping[str, str]:
        """The keys of config.json that hparams are taken from, by hparam."""
        return {}

    @property
    def shards(self) -> Iterable[Shard]:
        """The files that weights are read from."""
        return ()

    def check_unchanged(self) -> None:
        """See that the files of the weights are still those that were opened.

        Raises
        ------
        CheckpointError
            A file has changed: nothing that was made of it is to be published.
        """
        for shard in self.shards:
            shard.check()

    def with_notes(self, notes: Sequence[str]) -> Self:
        """Return the source with more to be said of it, in the summary and in ladder.json."""
        if not notes:
            return self
        said = [*self.origin.get("notes", ()), *notes]
        return replace(self, origin={**self.origin, "notes": said})

    def metadata(self, file_type: FileType) -> Metadata:
        """Return the metadata that the source's own file of `file_type` has."""
        metadata = self.base_metadata.copy()
        # some of the converter's classes leave the key out
        if self.is_gguf or FILE_TYPE_KEY in metadata:
            metadata[FILE_TYPE_KEY] = int(file_type)
        return metadata

    def file_name(self, encoding: str) -> str:
        """Return the name of a file of this encoding."""
        return file_name(self.base_metadata, encoding)

    @abstractmethod
    def reader(self, tensor: SourceTensor) -> Reader:
        """Return what reads a tensor's rows."""


def file_name(
    metadata: Metadata,
    encoding: str | None,
    *,
    unnamed: str = "model",
    with_size: bool = True,
    kind: str | None = None,
) -> str:
    """Return the name that llama.cpp's converters give a file with this metadata.

    Parameters
    ----------
    metadata : Metadata
        Whose ``general.*`` keys the parts of the name are.
    encoding : str or None
        The file type.
    unnamed : str
        The base name of a model that has none.
    with_size : bool
        Whether the size label is a part of the name.
    kind : str, optional
        ``LoRA`` or ``vocab``.
    """

    def text(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value if isinstance(value, str) else None

    return build_name(
        text("basename") or text("name") or unnamed,
        size_label=text("size_label") if with_size else None,
        fine_tune=text("finetune"),
        version=text("version"),
        encoding=encoding,
        type=kind,
    )
