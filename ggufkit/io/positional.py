"""Reading at a position of a file, without moving anybody's file pointer."""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.errors import TruncatedError


def read_range(fd: int, start: int, n_bytes: int, path: Path | None = None) -> bytes:
    """Return exactly `n_bytes` of an open file; unlike a mapping, this survives truncation.

    Raises
    ------
    TruncatedError
        The file has shrunk since its size was read; `path` is what the message names.
    """
    pieces = []
    while n_bytes:
        piece = os.pread(fd, n_bytes, start)
        if not piece:
            raise TruncatedError(
                f"{n_bytes} bytes are gone: the file changed while in use", path=path, offset=start
            )
        pieces.append(piece)
        start, n_bytes = start + len(piece), n_bytes - len(piece)
    return b"".join(pieces)
