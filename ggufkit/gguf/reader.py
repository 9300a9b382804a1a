"""`GGUFFile`: a GGUF file, mapped and checked."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ggufkit.errors import FormatError, MissingFileError, MissingTensorError, TruncatedError
from ggufkit.gguf.header import Header, parse_header
from ggufkit.io.positional import read_range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.gguf.values import Buffer, ByteOrder
    from ggufkit.types import TensorType


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its data.

    Attributes
    ----------
    info : TensorInfo
        Name, shape, type and offset.
    data : NDArray of uint8
        Shape ``info.shape[:-1] + (row_size,)``; a read-only view of the mapped file, in the
        file's byte order.
    """

    info: TensorInfo
    data: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights, in numpy order."""
        return self.info.shape

    @property
    def type(self) -> TensorType:
        """How the weights are stored."""
        return self.info.type


class GGUFFile(Mapping[str, Tensor]):
    """An open GGUF file: a mapping of tensor names to tensors, in file order.

    Everything is checked at `open`: that the metadata and every tensor lie within the file, in
    order, without overlap. Tensor data is mapped, not read. A context manager; tensors and
    metadata taken from it stay valid after it is closed.

    Attributes
    ----------
    path : Path or None
        The file; None for a buffer.
    version : int
        GGUF version, 2 or 3.
    byte_order : {'<', '>'}
        Little- or big-endian; tensor data is in the same order.
    metadata : Metadata
        The key-value pairs.
    tensors : dict of str to TensorInfo
        In file order.
    alignment, data_offset, file_size : int
        As in `Layout`.
    surplus : int
        Bytes behind the last tensor's padding; negative if that padding is missing.
    """

    def __init__(self, data: Buffer, header: Header, path: Path | None, fd: int | None) -> None:
        self._data: Buffer | None = data
        self._fd = fd
        self.path = path
        self.version = header.version
        self.byte_order: ByteOrder = header.byte_order
        self.metadata: Metadata = header.metadata
        self.tensors: dict[str, TensorInfo] = header.tensors
        self.alignment = header.alignment
        self.data_offset = header.data_offset
        self.file_size = len(data)
        padding = -(header.data_end - header.data_offset) % header.alignment
        self.surplus = self.file_size - header.data_end - padding

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, strict: bool = True) -> Self:
        """Open and check a file.

        Parameters
        ----------
        path : path-like
            A regular file. A part of a split model is opened on its own; see `open_gguf`.
        strict : bool
            See `parse_header`.

        Raises
        ------
        MissingFileError
            The file does not exist or can't be opened.
        FormatError
            One of its subclasses: the file is not what the format allows.
        """
        path = Path(path)
        fd = open_regular(path)
        try:
            data = _map(fd)
            return cls(data, _parse(data, path, strict), path, fd)
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def from_buffer(cls, data: bytes | bytearray | memoryview, *, strict: bool = True) -> Self:
        """Check a whole file that is already in memory."""
        view = memoryview(data).cast("B")
        return cls(view, _parse(view, None, strict), None, None)

    def close(self) -> None:
        """Close the file; its mapping lives on as long as a tensor or the metadata uses it."""
        self._data = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        with suppress(AttributeError):
            self.close()

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by name.

        Raises
        ------
        MissingTensorError
            No tensor has this name.
        """
        import numpy as np

        info = self._info(name)
        data = self._open_data()
        if info.nbytes == 0:
            empty = np.empty(info.data_shape, np.uint8)
            empty.flags.writeable = False
            return Tensor(info, empty)
        flat = np.frombuffer(data, np.uint8, info.nbytes, self.data_offset + info.offset)
        view = flat.reshape(info.data_shape)
        view.flags.writeable = False
        return Tensor(info, view)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __repr__(self) -> str:
        return f"<GGUFFile {str(self.path)!r}: {len(self.tensors)} tensors>"

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes:
        """Read bytes of a tensor's data by ``pread``, so that nothing stays mapped.

        Parameters
        ----------
        info : TensorInfo
            A tensor of this file.
        start, size : int
            In bytes, within the tensor's data; all of it by default.

        Raises
        ------
        TruncatedError
            The bytes are not within the tensor, or the file has shrunk since it was opened.
        """
        size = info.nbytes - start if size is None else size
        if start < 0 or size < 0 or start + size > info.nbytes:
            raise TruncatedError(
                f"bytes {start} to {start + size} of tensor {info.name!r}, which has {info.nbytes}",
                path=self.path,
            )
        return self._read(self.data_offset + info.offset + start, size)

    def _read(self, at: int, size: int) -> bytes:
        if self._fd is None:
            return bytes(self._open_data()[at : at + size])
        return read_range(self._fd, at, size, self.path)

    def _info(self, name: str) -> TensorInfo:
        try:
            return self.tensors[name]
        except KeyError:
            raise MissingTensorError(f"{self.path}: no tensor is named {name!r}") from None

    def _open_data(self) -> Buffer:
        if self._data is None:
            raise ValueError(f"{self.path} is closed")
        return self._data


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor; a FIFO or device would hang or never end.

    Raises
    ------
    MissingFileError
        It can't be opened, or is not a regular file.
    """
    import stat

    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise MissingFileError(f"{path}: not a regular file")
    return fd


def _map(fd: int) -> Buffer:
    if os.fstat(fd).st_size == 0:
        return b""
    return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)


def _parse(data: Buffer, path: Path | None, strict: bool) -> Header:
    """Parse a header and check that the file holds all tensor data; unmap it on an error."""
    try:
        header = parse_header(data, strict=strict)
        check_data(header, len(data))
    except FormatError as error:
        _unmap(data)
        raise type(error)(error.what, path=path, offset=error.offset) from None
    return header


def check_data(header: Header, file_size: int) -> None:
    """Check that every tensor's data is within the file.

    The padding behind the last tensor may be missing: no weight depends on it, llama.cpp's model
    loader does not ask for it, and writers in the field have left it out.

    Raises
    ------
    TruncatedError
        The file ends within a tensor.
    """
    for info in header.tensors.values():
        start = header.data_offset + info.offset
        if start + info.nbytes > file_size:
            raise TruncatedError(
                f"tensor {info.name!r} needs {info.nbytes} bytes, "
                f"{max(file_size - start, 0)} remain",
                offset=start,
            )


def _unmap(data: Any) -> None:
    if isinstance(data, mmap.mmap):
        data.close()
