"""Small text files next to a ladder: replaced as a whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.io.atomic import output_errors


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file that gets its name only when all of it is on disk.

    Raises
    ------
    OutputError
        It can't be written.
    """
    temporary = path.with_name(path.name + ".new")
    with output_errors(path):
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
