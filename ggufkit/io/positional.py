"""Reading and writing at positions of a file, without a shared file pointer; syncing folders."""

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


def write_range(fd: int, start: int, data: bytes | memoryview) -> None:
    """Write all of `data`, which the system may do piece by piece."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, start)
        view, start = view[written:], start + written


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
