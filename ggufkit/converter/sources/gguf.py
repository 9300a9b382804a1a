"""A GGUF file as the source of a ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ggufkit.architectures.from_gguf_py import marked
from ggufkit.codecs import CODECS, dequantize
from ggufkit.converter.sources.base import FILE_TYPE_KEY, Floats, SourceTensor, file_identity
from ggufkit.errors import ConversionError, TruncatedError
from ggufkit.gguf.layout import TensorInfo
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT
from ggufkit.types import FileType, TensorType


@dataclass(frozen=True)
class GGUFSource:
    """A GGUF file, or a set of splits, whose tensors are encoded anew.

    Attributes
    ----------
    tensors : tuple of SourceTensor
        In file order.
    origin : dict
        Where the weights come from, for provenance.
    """

    tensors: tuple[SourceTensor, ...]
    origin: dict[str, Any]
    _metadata: Metadata
    _readers: dict[str, GGUFReader]
    is_gguf: ClassVar[bool] = True
    n_remote: ClassVar[int] = 0
    cached_bytes: ClassVar[int] = 0

    @classmethod
    def open(cls, path: Path, *, allow_requantize: bool = False) -> GGUFSource:
        """Read the head of a GGUF file.

        Parameters
        ----------
        path : Path
            The file, or one of its splits.
        allow_requantize : bool
            Also take a file whose weights are quantized already.

        Raises
        ------
        FormatError
            It is not a well-formed GGUF file.
        ConversionError
            Its weights are quantized, and that is not allowed; or they can't be decoded.
        """
        with open_gguf(path) as file:
            infos = tuple(file.tensors.values())
            _check_types(path, infos, allow_requantize)
            metadata = file.metadata.copy()
            for key in (NO, COUNT, TENSORS_COUNT):
                metadata.pop(key, None)
            paths = [Path(part.path or path) for part in file.parts]
            return cls(
                tensors=tuple(SourceTensor(info.name, info.shape, info.type) for info in infos),
                origin={
                    "kind": "gguf",
                    "name": path.name,
                    "revision": None,
                    "identity": file_identity(paths),
                    **marked(metadata),
                },
                _metadata=metadata,
                _readers={info.name: _reader_of(file, info) for info in infos},
            )

    def whole_metadata(self) -> Metadata:
        """Return the file's metadata as it is, but for what says that it is split."""
        return self._metadata.copy()

    def metadata(self, file_type: FileType) -> Metadata:
        """Return the file's metadata, without what says that it is split."""
        metadata = self._metadata.copy()
        metadata[FILE_TYPE_KEY] = int(file_type)
        return metadata

    def reader(self, tensor: SourceTensor) -> GGUFReader:
        """Return what reads a tensor's rows."""
        return self._readers[tensor.name]


@dataclass(frozen=True)
class GGUFReader:
    """Rows of a tensor that starts at the byte `offset` of a file.

    Read by pread into fresh memory: nothing stays mapped, and a file that is cut short under us
    is an error.
    """

    path: Path
    offset: int
    type: TensorType
    n_cols: int

    def read(self, rows: slice) -> Floats:
        """Return the rows."""
        return dequantize(self.read_blocks(rows), self.type)

    def read_blocks(self, rows: slice) -> NDArray[np.uint8]:
        """Return the rows as stored."""
        row_size = self.type.row_size(self.n_cols)
        data = np.empty((rows.stop - rows.start, row_size), np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset + rows.start * row_size)
            view = data.reshape(-1).data
            while view:
                n = file.readinto(view)
                if not n:
                    raise TruncatedError("the file has shrunk since it was opened", path=self.path)
                view = view[n:]
        return data


def _reader_of(file: GGUFModel, info: TensorInfo) -> GGUFReader:
    part = file.part_of(info.name)
    n_cols = info.shape[-1] if info.shape else 1
    return GGUFReader(Path(part.path or ""), part.data_offset + info.offset, info.type, n_cols)


def _check_types(path: Path, infos: Sequence[TensorInfo], allow_requantize: bool) -> None:
    quantized = [info for info in infos if info.type.is_quantized]
    if quantized and not allow_requantize:
        raise ConversionError(
            f"{path}: {len(quantized)} tensors are quantized already ({quantized[0].name} is "
            f"{quantized[0].type.name}), and quantizing twice adds their errors. Start from "
            "F32, F16 or BF16, or say --allow-requantize"
        )
    strange = next((info for info in infos if info.type not in CODECS), None)
    if strange is not None:
        raise ConversionError(
            f"{path}: {strange.name} is {strange.type.name}: it stores no weights"
        )
