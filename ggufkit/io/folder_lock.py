"""One process at a time writes a ladder into a folder.

The lock is the operating system's, on a file in the folder. It is released when the process ends,
however that happens, so a lock is never stale.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ggufkit.errors import OutputError
from ggufkit.io.atomic import open_locked

LOCK_NAME = ".ggufkit.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing ladders into `folder`.

    Raises
    ------
    OutputError
        Another process holds the lock, or the folder can't be written to.
    """
    path = folder / LOCK_NAME
    try:
        fd = open_locked(path)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES) and path.exists():
            raise OutputError(
                f"{folder}: another ggufkit{_owner(path)} is writing into this folder; wait for "
                "it, or choose another folder"
            ) from None
        raise OutputError(f"{folder}: can't be written to: {error.strerror}") from error
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _owner(path: Path) -> str:
    try:
        text = path.read_bytes()[:20].decode()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {text})" if text.isdecimal() else ""
