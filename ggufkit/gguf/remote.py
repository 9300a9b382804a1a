"""GGUF files that stay where they are: the header is read by byte ranges, tensors on demand.

No field says how long a header is, but what has arrived suggests it: an array of n strings of which
k are known takes about n/k times as much, and arrays of numbers and counts of tensors say exactly
or nearly what they need. So a few requests fetch the header, and little more.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import unquote, urlsplit

from ggufkit.errors import FormatError
from ggufkit.gguf.reader import FetchingParser, GGUFFile, check_data
from ggufkit.io.http_ranges import RangeReader, url_of

FIRST_BYTES = 1 << 17


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
        file = cls(source, header, name, parser.size)
        file.source = source
        return file


class _RemoteParser(FetchingParser):
    """Parses a header while it is being fetched: little more than it, in few requests."""

    FIRST_BYTES = FIRST_BYTES
    MIN_STEP = 1 << 13
    SLACK = 0.005

    def __init__(self, source: RangeReader, strict: bool) -> None:
        super().__init__(source, self.FIRST_BYTES, strict)
        self.size = source.size or len(self.received)
