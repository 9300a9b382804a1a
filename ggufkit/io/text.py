"""Small files next to a ladder: replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.io.atomic import check_final, open_locked, output_errors
from ggufkit.io.positional import write_range

# What ggufkit keeps in folders for itself is called so; other names are other people's.
OWN = ".ggufkit-"


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file that gets its name only when all of it is on disk.

    Raises
    ------
    OutputError
        It can't be written, or the name is taken by something else than a file.
    """
    write_bytes_atomic(path, text.encode())


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file like `write_text_atomic`."""
    check_final(path)
    temporary = path.with_name(f"{OWN}{path.name.removeprefix(OWN)}.new")
    with output_errors(path):
        if temporary.is_symlink():
            temporary.unlink()
        fd = open_locked(temporary)
        try:
            os.ftruncate(fd, 0)
            write_range(fd, 0, data)
            os.fsync(fd)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
