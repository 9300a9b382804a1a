"""Bytes behind a file's last tensor: zeros, or something that a fix may not throw away."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ggufkit.gguf.reader import GGUFFile

_MAGICS = (b"GGUF", b"FUGG")
_CHUNK = 1 << 20


def describe_surplus(path: Path, end: int, padded: int) -> str | None:
    """Say what the bytes behind the last tensor are, and how to keep them.

    Parameters
    ----------
    path : Path
        The file.
    end, padded : int
        The byte behind the last tensor, without and with its padding.

    Returns
    -------
    str or None
        None if all bytes are zero, or there are none.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(end)
        window = file.read(padded - end + _CHUNK)
        found = [at for magic in _MAGICS if (at := window.find(magic)) >= 0]
        if not found:
            file.seek(padded)
            if not any(any(chunk) for chunk in iter(lambda: file.read(_CHUNK), b"")):
                return None
            return (
                f"{size - padded} bytes that are not zero follow the last tensor: nothing reads "
                f"them, but they are somebody's: keep them with '{_tail(path, padded, 'trailing')}'"
            )
    second = end + min(found)
    first = shlex.quote(str(path.with_name(f"{path.stem}-first.gguf")))
    return (
        f"another GGUF file starts at byte {second}, behind the last tensor: were files joined "
        f"with cat? Take them apart with 'head -c {second} {shlex.quote(str(path))} > {first}' and "
        f"'{_tail(path, second, 'rest')}', and the rest in the same way; "
        "'ggufkit merge PART OUT' joins the parts of a split model"
    )


def left_behind(part: GGUFFile) -> str | None:
    """Say what a copy of a file leaves out behind its last tensor; None if only zeros.

    Parameters
    ----------
    part : GGUFFile
        A file on this machine.
    """
    last = next(reversed(part.tensors.values()), None)
    end = part.data_offset + (last.offset + last.nbytes if last else 0)
    if part.path is None or part.file_size <= end:
        return None
    return describe_surplus(part.path, end, part.file_size - part.surplus)


def _tail(path: Path, start: int, word: str) -> str:
    """Return the command that copies a file from a byte on."""
    suffix = ".gguf" if word == "rest" else ".bin"
    out = path.with_name(f"{path.stem}-{word}{suffix}")
    return f"tail -c +{start + 1} {shlex.quote(str(path))} > {shlex.quote(str(out))}"
