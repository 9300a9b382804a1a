"""A GGUF file as the source of a ladder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import CODECS, dequantize
from ggufkit.converter.source import FILE_TYPE_KEY, Floats, SourceTensor, file_identity
from ggufkit.errors import ConversionError
from ggufkit.gguf.joined import JoinedFile, open_gguf
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT
from ggufkit.types import FileType


@dataclass
class GGUFSource:
    """A GGUF file, or a set of splits, whose tensors are encoded anew.

    Attributes
    ----------
    path : Path
        The file, or one of its splits.
    tensors : tuple of SourceTensor
        In file order.
    origin : dict
        Where the weights come from, for provenance.
    """

    path: Path
    tensors: tuple[SourceTensor, ...]
    origin: dict[str, Any]
    _file: JoinedFile | None = None
    is_gguf: ClassVar[bool] = True

    @classmethod
    def open(cls, path: Path, *, allow_requantize: bool = False) -> GGUFSource:
        """Open a GGUF file.

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
            Its weights are quantized, and that is not allowed.
        """
        file = open_gguf(path)
        infos = file.tensors.values()
        quantized = [info for info in infos if info.type.is_quantized]
        if quantized and not allow_requantize:
            file.close()
            raise ConversionError(
                f"{path}: {len(quantized)} tensors are quantized already ({quantized[0].name} is "
                f"{quantized[0].type.name}), and quantizing twice adds their errors. Start from "
                "F32, F16 or BF16, or say --allow-requantize"
            )
        return cls(
            path=path,
            tensors=tuple(SourceTensor(info.name, info.shape, info.type) for info in infos),
            origin={
                "kind": "gguf",
                "name": path.name,
                "revision": None,
                "identity": file_identity([Path(part.path or path) for part in file.parts]),
            },
            _file=file,
        )

    @property
    def file(self) -> JoinedFile:
        """The open file; a worker process opens its own."""
        if self._file is None:
            self._file = open_gguf(self.path)
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def metadata(self, file_type: FileType) -> Metadata:
        """Return the file's metadata, without what says that it is split."""
        metadata = self.file.metadata.copy()
        for key in (NO, COUNT, TENSORS_COUNT):
            metadata.pop(key, None)
        metadata[FILE_TYPE_KEY] = int(file_type)
        return metadata

    def read_blocks(self, tensor: SourceTensor, rows: slice) -> NDArray[np.uint8]:
        """Return rows as stored, (n_rows, row_size) bytes."""
        row_size = tensor.stored.row_size(tensor.n_cols)
        n_rows = rows.stop - rows.start
        info = self.file.tensors[tensor.name]
        data = self.file.read_bytes(info, rows.start * row_size, n_rows * row_size)
        return np.frombuffer(data, np.uint8).reshape(n_rows, row_size)

    def read(self, tensor: SourceTensor, rows: slice) -> Floats:
        """Return rows as (n_rows, n_cols) float32.

        Raises
        ------
        ConversionError
            The tensor's type stores no weights.
        """
        if tensor.stored not in CODECS:
            raise ConversionError(f"{tensor.name}: {tensor.stored.name} can't be decoded")
        return dequantize(self.read_blocks(tensor, rows), tensor.stored)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
