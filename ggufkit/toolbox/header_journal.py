r"""Replacing a file's header in place so that a kill at any moment loses nothing.

The new header is first written to ``FILE.edit-journal``, next to the file::

    | "GGUFKIT\1" | n: u64 | file size: u64 | old header: n bytes | new header: n bytes | SHA-256 |

The digest is that of all bytes before it. Each step is on disk before the next one starts:

1. write the journal      killed here: the digest is wrong, the file is untouched: discard
2. write the header       killed here: the header may be torn: write it again
3. remove the journal     killed here: the header is complete: write it again, which changes nothing

The next edit finishes an interrupted one (`HeaderEditor`). A journal is only replayed into a file
of the recorded size, each header byte of which is that of the old or of the new header.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from ggufkit.errors import OutputError
from ggufkit.io.atomic import check_final, create_new, output_errors
from ggufkit.io.positional import sync_folder, write_range

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".edit-journal"
_MAGIC = b"GGUFKIT\1"
_HEAD = struct.Struct("<8sQQ")
_DIGEST_SIZE = 32


def journal_path(path: Path) -> Path:
    """Return where a file's journal is while its header is being replaced."""
    return path.with_name(path.name + SUFFIX)


class HeaderEditor:
    """An open, locked file whose header can be replaced; a context manager.

    Opening it finishes an edit that was interrupted.

    Parameters
    ----------
    path : Path
        A regular file, not a symbolic link.

    Raises
    ------
    OutputError
        The file can't be written, another process edits it, or a journal next to it belongs to
        another file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = journal_path(path)
        with _errors(path):
            self._fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                self._lock()
                self._recover()
            except BaseException:
                self.close()
                raise

    def replace(self, header: bytes) -> None:
        """Replace the header by one of the same length."""
        with _errors(self.journal):
            try:
                self._write_journal(header)
            except BaseException:
                with suppress(OSError):
                    self.journal.unlink()
                raise
        with _errors(self.path):
            self._write_header(header)

    def close(self) -> None:
        """Close and unlock the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _lock(self) -> None:
        if fcntl is not None:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(self._fd), self.path.lstat()):
            # replaced by another edit between our open and our lock
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    def _recover(self) -> None:
        check_final(self.journal)
        try:
            data = self.journal.read_bytes()
        except FileNotFoundError:
            return
        head = data[: len(_MAGIC)].rstrip(b"\0")  # not all of it may have reached the disk
        if not _MAGIC.startswith(head):
            raise OutputError(f"{self.journal} is in the way, not written by an edit: move it away")
        header = self._parse_journal(data)
        if header is None:
            self._remove_journal()
        else:
            self._write_header(header)

    def _parse_journal(self, data: bytes) -> bytes | None:
        """Return the new header, or None if the journal was not complete."""
        body = data[:-_DIGEST_SIZE]
        if len(body) < _HEAD.size or hashlib.sha256(body).digest() != data[-_DIGEST_SIZE:]:
            return None
        magic, n, file_size = _HEAD.unpack_from(body)
        old, new = body[_HEAD.size :][:n], body[_HEAD.size + n :]
        now = os.pread(self._fd, n, 0)
        if (
            magic != _MAGIC
            or not n == len(old) == len(new) == len(now)
            or os.fstat(self._fd).st_size != file_size
            or any(byte not in pair for byte, *pair in zip(now, old, new, strict=True))
        ):
            raise OutputError(
                f"{self.journal} is of an interrupted edit of another file than {self.path}: "
                "remove it if the file was replaced since"
            )
        return new

    def _write_journal(self, header: bytes) -> None:
        old = os.pread(self._fd, len(header), 0)
        body = _HEAD.pack(_MAGIC, len(header), os.fstat(self._fd).st_size) + old + header
        fd = create_new(self.journal)
        try:
            write_range(fd, 0, body + hashlib.sha256(body).digest())
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(self.path.parent)

    def _write_header(self, header: bytes) -> None:
        write_range(self._fd, 0, header)
        os.fsync(self._fd)
        self._remove_journal()

    def _remove_journal(self) -> None:
        self.journal.unlink()
        sync_folder(self.path.parent)


_ADVICE = {
    errno.EAGAIN: "another process is editing it",
    errno.ELOOP: "it is a symbolic link: name the file itself, or write another file",
    errno.ENOENT: "no such file",
    errno.EACCES: "it is not writable: write another file",
    errno.EROFS: "it is not writable: write another file",
}


_errors = partial(
    output_errors, advice=_ADVICE, otherwise="check the disk, then edit again to finish"
)
