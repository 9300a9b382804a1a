"""GGUF files that stay where they are: the header is read by byte ranges, tensors on demand.

No field says how long a header is, but what has arrived suggests it: an array of n strings of which
k are known takes about n/k times as much, and arrays of numbers and counts of tensors say exactly
or nearly what they need. So a few requests fetch the header, and little more.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

from ggufkit.errors import FormatError, LimitExceededError
from ggufkit.gguf.header import HeaderParser, parse_version
from ggufkit.gguf.reader import GGUFFile, Tensor, check_data
from ggufkit.io.http_ranges import RangeReader, url_of

FIRST_BYTES = 1 << 17
#: Share of what is known of the header that is fetched beyond the estimate: what follows may be
#: longer than what came before suggests.
SLACK = 0.005
MIN_STEP = 1 << 13
#: No header of a model is nearly as long.
MAX_HEADER_BYTES = 1 << 30


class RemoteFile(GGUFFile):
    """A GGUF file on the web or the Hub. Tensors are fetched when they are asked for.

    Attributes
    ----------
    source : RangeReader
        The connection; it counts the bytes received.
    """

    source: RangeReader

    @classmethod
    def open(cls, path: object, *, strict: bool = True) -> Self:
        """Read and check the header of a remote file.

        Parameters
        ----------
        path : str
            ``hf:owner/name/file.gguf``, with an optional ``@revision``, or a URL.
        strict : bool
            See `ggufkit.gguf.header.parse_header`.

        Raises
        ------
        MissingFileError, RemoteError
            It can't be reached.
        FormatError
            It is not a GGUF file, or damaged.
        """
        source = RangeReader(url_of(str(path)))
        name = Path(PurePosixPath(unquote(urlsplit(source.url).path)).name)
        try:
            parser = _RemoteParser(source, strict)
            header = parser.header(parser.version)
            check_data(header, parser.size)
        except FormatError as error:
            raise type(error)(error.what, path=name, offset=error.offset) from None
        file = cls(parser.received, header, name, None)
        file.source = source
        file.file_size = parser.size
        padding = -(header.data_end - header.data_offset) % header.alignment
        file.surplus = file.file_size - header.data_end - padding
        return file

    def __getitem__(self, name: str) -> Tensor:
        """Fetch a tensor by name."""
        import numpy as np

        info = self._info(name)
        flat = np.frombuffer(self.read_bytes(info), np.uint8)
        return Tensor(info, flat.reshape(info.data_shape))

    def _read(self, at: int, size: int) -> bytes:
        return self.source.read(at, size)


class _RemoteParser(HeaderParser):
    """Parses a header while it is being fetched."""

    def __init__(self, source: RangeReader, strict: bool) -> None:
        self.source = source
        self.received = bytearray(source.read(0, FIRST_BYTES))
        self.version, order = parse_version(self.received, strict=strict)
        super().__init__(self.received, order, strict, source.size or len(self.received))

    def fetch(self, stop: int) -> None:
        """Fetch the header up to `stop`, and what the walk so far suggests beyond it."""
        have, likely = len(self.received), max(stop, self.likely_end)
        if likely > MAX_HEADER_BYTES:
            raise LimitExceededError(f"its header takes more than {MAX_HEADER_BYTES} bytes")
        step = max(MIN_STEP, likely - have + int(SLACK * likely))
        self.received += self.source.read(have, min(step, self.size - have))
