"""GGUF files that stay where they are: the header is read by byte ranges, tensors when asked for.

How long a header is stands nowhere. What has come so far says: an array of n strings of which k
are there takes about n/k as much, arrays of numbers and counts of tensors say exactly or nearly
what they need. So each request brings the header a part closer to its end, and little more.
"""

from __future__ import annotations

import struct
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

from ggufkit.errors import LimitExceededError, TruncatedError
from ggufkit.gguf.header import Header, parse_version
from ggufkit.gguf.reader import GGUFFile, Tensor, parse
from ggufkit.gguf.values import CODES
from ggufkit.io.http_ranges import RangeReader, url_of
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.gguf.values import ByteOrder

FIRST_BYTES = 1 << 17
#: Of what is known of the header, what is asked for beyond the estimate: the rest of it may be
#: longer than its beginning lets expect.
SLACK = 0.005
MIN_STEP = 1 << 13
#: Of what an array's strings so far let expect, what is asked for: they may get shorter.
CAUTION = 0.97
#: No header of a model is nearly as long.
MAX_HEADER_BYTES = 1 << 30
_TENSOR_GUESS = 60  # name, count, dimensions, type and offset of one tensor


class RemoteFile(GGUFFile):
    """A GGUF file on the web or the Hub. Tensors are fetched when they are asked for.

    Attributes
    ----------
    source : RangeReader
        Where bytes come from; it counts them.
    """

    source: RangeReader

    @classmethod
    def open(cls, path: object, *, strict: bool = True) -> Self:
        """Read and check the header of a remote file.

        Parameters
        ----------
        path : str
            ``hf:owner/name/file.gguf``, with ``@revision`` if need be, or a URL.
        strict : bool
            See `ggufkit.gguf.header.parse_header`.

        Raises
        ------
        MissingFileError, RemoteError
            It can't be reached.
        FormatError
            It is no GGUF file, or damaged.
        """
        source = RangeReader(url_of(str(path)))
        name = Path(PurePosixPath(unquote(urlsplit(source.url).path)).name)
        data, header = _read_header(source, name, strict)
        file = cls(data, header, name, None)
        file.source = source
        file.file_size = source.size or 0
        padding = -(header.data_end - header.data_offset) % header.alignment
        file.surplus = file.file_size - header.data_end - padding
        return file

    def __getitem__(self, name: str) -> Tensor:
        """Fetch a tensor by name."""
        import numpy as np

        info = self._info(name)
        flat = np.frombuffer(self.read_bytes(info), np.uint8)
        return Tensor(info, flat.reshape(info.data_shape))

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes:
        """Fetch a stretch of a tensor's data; see `GGUFFile.read_bytes`."""
        size = info.nbytes - start if size is None else size
        if start < 0 or size < 0 or start + size > info.nbytes:
            raise TruncatedError(
                f"bytes {start} to {start + size} of tensor {info.name!r}, which has {info.nbytes}",
                path=self.path,
            )
        return self.source.read(self.data_offset + info.offset + start, size)


def _read_header(source: RangeReader, name: Path, strict: bool) -> tuple[bytes, Header]:
    """Read the start of a file until its header is complete; return it and the header."""
    data = bytearray(source.read(0, FIRST_BYTES))
    progress = _Progress()
    while True:
        size = source.size or len(data)
        complete = len(data) >= size
        if complete or progress.advance(data, strict):
            try:
                return bytes(data), parse(bytes(data), name, strict, size)
            except TruncatedError:
                if complete:
                    raise
        needed = progress.estimate(len(data))
        if needed > MAX_HEADER_BYTES:
            raise LimitExceededError(
                f"its header takes more than {MAX_HEADER_BYTES} bytes", path=name
            )
        step = max(MIN_STEP, needed - len(data) + int(SLACK * needed))
        data += source.read(len(data), min(step, size - len(data)))


class _Progress:
    """How far a header that is still coming has been walked, and what it will need.

    It trusts nothing but how much there is: `parse_header` checks what has come in the end.
    """

    def __init__(self) -> None:
        self.pos = 0
        self.order: ByteOrder = "<"
        self.n_tensors = self.pairs_left = self.tensors_left = 0
        self.items_left = 0  # strings of an array that is being walked
        self.items_start = self.n_items = 0

    def advance(self, data: bytearray, strict: bool) -> bool:
        """Walk on through what has come; return whether the header is complete."""
        try:
            if not self.pos:
                _, self.order = parse_version(bytes(data[:8]), strict=strict)
                self.n_tensors, self.pairs_left = self._unpack(data, "QQ", 8)
                self.tensors_left, self.pos = self.n_tensors, 24
            while self.items_left or self.pairs_left:
                if not self.items_left:
                    self._pair(data)
                self._items(data)
            while self.tensors_left:
                self._tensor(data)
        except _MoreError:
            return False
        return True

    def estimate(self, have: int) -> int:
        """Return about how many bytes the header takes, more than `have`."""
        needed = self.pos
        if self.items_left and self.items_left < self.n_items:
            per_item = (self.pos - self.items_start) / (self.n_items - self.items_left)
            needed += int(CAUTION * self.items_left * per_item)
        elif self.items_left:
            needed += 8 * self.items_left
        elif not self.pairs_left:
            needed += self.tensors_left * _TENSOR_GUESS
        return max(needed, have + 1)

    def _unpack(self, data: bytearray, code: str, at: int) -> tuple[int, ...]:
        if at + struct.calcsize(f"={code}") > len(data):
            raise _MoreError
        return struct.unpack_from(self.order + code, data, at)

    def _skip_string(self, data: bytearray, at: int) -> int:
        return at + 8 + self._unpack(data, "Q", at)[0]

    def _pair(self, data: bytearray) -> None:
        """Walk over a pair, or up to the items of its array of strings."""
        at = self._skip_string(data, self.pos)
        (kind,) = self._unpack(data, "I", at)
        at += 4
        if kind == ValueType.STRING:
            at = self._skip_string(data, at)
        elif kind == ValueType.ARRAY:
            item, count = self._unpack(data, "IQ", at)
            at += 12
            if item == ValueType.STRING:
                self.items_left = self.n_items = count
                self.items_start = at
            else:
                at += count * _size_of(item)
        else:
            at += _size_of(kind)
        # What is known to be needed counts, though it has not come yet.
        self.pos = at
        self.pairs_left -= 1
        if at > len(data):
            raise _MoreError

    def _items(self, data: bytearray) -> None:
        while self.items_left:
            end = self._skip_string(data, self.pos)
            if end > len(data):
                raise _MoreError
            self.pos = end
            self.items_left -= 1

    def _tensor(self, data: bytearray) -> None:
        at = self._skip_string(data, self.pos)
        (n_dims,) = self._unpack(data, "I", at)
        end = at + 4 + 8 * n_dims + 4 + 8
        if end > len(data):
            raise _MoreError
        self.pos = end
        self.tensors_left -= 1


class _MoreError(Exception):
    """What has come ends here."""


def _size_of(kind: int) -> int:
    code = CODES.get(ValueType(kind)) if kind in set(ValueType) else None
    return struct.calcsize(f"={code}") if code else 1
