"""`GGUFFile`: a GGUF file, opened and checked.

The header is read into memory, tensors when they are used. Mapping them would be simpler, but if
another program truncates a mapped file, the next look at it ends this one by a signal; that of a
read is an error. Only single tensors that are too large for memory are mapped, one by one.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, cast

from ggufkit.errors import (
    FormatError,
    LimitExceededError,
    MissingFileError,
    MissingTensorError,
    TruncatedError,
)
from ggufkit.gguf import limits
from ggufkit.gguf.header import Header, HeaderParser, parse_header, parse_version
from ggufkit.io.positional import read_range

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.gguf.values import Buffer, ByteOrder
    from ggufkit.types import TensorType

#: A tensor of more bytes is mapped: few models have one.
MAX_READ_BYTES = 1 << 30


@dataclass(frozen=True)
class Tensor:
    """A tensor, whose data is read when it is first used.

    Attributes
    ----------
    info : TensorInfo
        Name, shape, type and offset.
    """

    info: TensorInfo
    _source: ByteSource = field(repr=False, compare=False)
    _start: int = field(repr=False)

    @cached_property
    def data(self) -> NDArray[np.uint8]:
        """The data, of shape ``info.shape[:-1] + (row_size,)``: read-only, in file byte order.

        Raises
        ------
        TruncatedError
            The file has shrunk since it was opened.
        """
        import numpy as np

        large = self.info.nbytes > MAX_READ_BYTES
        get = self._source.map if large else self._source.read
        view = np.frombuffer(get(self._start, self.info.nbytes), np.uint8)
        view.flags.writeable = False
        return view.reshape(self.info.data_shape)

    def rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read rows, counted over all leading dimensions, as stored: (n_rows, row_size) bytes.

        Raises
        ------
        TruncatedError
            The file has shrunk since it was opened.
        """
        import numpy as np

        size = self.info.data_shape[-1]
        data = self._source.read(self._start + start * size, (stop - start) * size)
        return np.frombuffer(data, np.uint8).reshape(stop - start, size)

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
    order, without overlap. Tensor data is read when it is used. A context manager; tensors and
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

    def __init__(self, source: ByteSource, header: Header, path: Path | None, size: int) -> None:
        self._source: ByteSource | None = source
        self.path = path
        self.version = header.version
        self.byte_order: ByteOrder = header.byte_order
        self.metadata: Metadata = header.metadata
        self.tensors: dict[str, TensorInfo] = header.tensors
        self.alignment = header.alignment
        self.data_offset = header.data_offset
        self.file_size = size
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
        source = OpenFile(path)
        try:
            return cls(source, read_header(source, path, strict=strict), path, source.size)
        except BaseException:
            source.close()
            raise

    @classmethod
    def from_buffer(cls, data: bytes | bytearray | memoryview, *, strict: bool = True) -> Self:
        """Check a whole file that is already in memory."""
        view = memoryview(data).cast("B")
        header = parse_header(view, strict=strict)
        check_data(header, len(view))
        return cls(_Memory(view), header, None, len(view))

    def close(self) -> None:
        """Close the file; it is open until tensors that were taken from it are gone, too."""
        self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by name.

        Raises
        ------
        MissingTensorError
            No tensor has this name.
        """
        info, source = self._info(name), self._opened()
        return Tensor(info, source, self.data_offset + info.offset)

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
        return bytes(self._opened().read(self.data_offset + info.offset + start, size))

    @property
    def status(self) -> os.stat_result:
        """What the system said of the file when it was opened."""
        return cast("OpenFile", self._opened()).status

    def _info(self, name: str) -> TensorInfo:
        try:
            return self.tensors[name]
        except KeyError:
            raise MissingTensorError(f"{self.path}: no tensor is named {name!r}") from None

    def _opened(self) -> ByteSource:
        if self._source is None:
            raise ValueError(f"{self.path} is closed")
        return self._source


class ByteSource(Protocol):
    """What the bytes of a file are read from."""

    def read(self, offset: int, n_bytes: int) -> Buffer:
        """Return `n_bytes` from `offset` on."""

    def map(self, offset: int, n_bytes: int) -> Buffer:
        """Return the same without reading them, where that is possible."""


@dataclass(frozen=True)
class _Memory:
    """A file that is in memory."""

    data: memoryview

    def read(self, offset: int, n_bytes: int) -> memoryview:
        return self.data[offset : offset + n_bytes]

    map = read


class OpenFile:
    """A regular file that is open as long as somebody uses it.

    Attributes
    ----------
    path : Path
        The file.
    status : stat_result
        When it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = open_regular(path)
        self.status = os.fstat(self._fd)

    @property
    def size(self) -> int:
        """Bytes of the file when it was opened."""
        return self.status.st_size

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return `n_bytes` from `offset` on.

        Raises
        ------
        TruncatedError
            The file has shrunk since it was opened.
        """
        return read_range(self._fd, offset, n_bytes, self.path)

    def map(self, offset: int, n_bytes: int) -> memoryview:
        """Return a view of `n_bytes` from `offset` on, see the module."""
        if os.fstat(self._fd).st_size < offset + n_bytes:
            raise TruncatedError("the file changed while in use", path=self.path, offset=offset)
        before = offset % mmap.ALLOCATIONGRANULARITY
        size, start = n_bytes + before, offset - before
        return memoryview(mmap.mmap(self._fd, size, access=mmap.ACCESS_READ, offset=start))[before:]

    def close(self) -> None:
        """Close it before nobody uses it any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        with suppress(AttributeError):  # it could not be opened
            self.close()


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


class FetchingParser(HeaderParser):
    """Parses a header while it is being read.

    Attributes
    ----------
    received : bytearray
        What has been read of it.
    """

    #: Bytes that are read at once, at least.
    FIRST_BYTES = MIN_STEP = 1 << 20
    #: Share of what is known of the header that is read beyond the estimate: what follows may be
    #: longer than what came before suggests.
    SLACK = 0.25

    def __init__(self, source: ByteSource, size: int, strict: bool) -> None:
        self.source = source
        self.received = bytearray(source.read(0, min(self.FIRST_BYTES, size)))
        self.version, order = parse_version(self.received, strict=strict)
        super().__init__(self.received, order, strict, size)

    def fetch(self, stop: int) -> None:
        """Read the header up to `stop`, and what the walk so far suggests beyond it."""
        have, likely = len(self.received), max(stop, self.likely_end)
        if likely > limits.MAX_HEADER_BYTES:
            what = f"its header takes more than {limits.MAX_HEADER_BYTES} bytes"
            raise LimitExceededError(what)
        step = max(self.MIN_STEP, likely - have + int(self.SLACK * likely))
        self.received += self.source.read(have, min(step, self.size - have))


def read_header(source: OpenFile, path: Path, *, strict: bool = True) -> Header:
    """Read a file's header, and check that the file holds all tensor data."""
    try:
        parser = FetchingParser(source, source.size, strict)
        header = parser.header(parser.version)
        check_data(header, source.size)
    except FormatError as error:
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
