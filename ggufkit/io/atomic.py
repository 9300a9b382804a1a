"""Files that exist under their final name only when complete.

Data goes to ``NAME.partial``, at known offsets and in any order. Only when all of it has reached
the disk does the file take its final name.

Everything that ggufkit writes is opened here, and no link is followed: neither a symbolic one nor
a second name of somebody's file. A name that is taken by anything but a regular file is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ggufkit.errors import OutputError
from ggufkit.io.positional import sync_folder, write_range

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIX = ".partial"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_MAGIC = b"GGUF"


def partial_path(final_path: Path) -> Path:
    """Return the path of a file while it is being written."""
    return final_path.with_name(final_path.name + SUFFIX)


class PartialFile:
    """A file of known size that grows under ``<final>.partial``.

    `write_at` may be called from several threads. A context manager: leaving it closes the file
    and keeps the partial file on disk, for a later run to resume.

    Parameters
    ----------
    final_path : path-like
        Where `publish` puts the file.
    size : int
        Bytes of the finished file; bytes never written are zero.
    resume : bool
        Keep what an earlier run has written, if the size is the same.

    Attributes
    ----------
    resumed : bool
        Whether an earlier run's bytes were kept.

    Raises
    ------
    OutputError
        The file can't be created, the disk is too small, another process is writing the same
        file, or the final path is something other than a regular file.
    """

    def __init__(
        self, final_path: str | os.PathLike[str], size: int, *, resume: bool = False
    ) -> None:
        self.final_path = Path(final_path)
        self.path = partial_path(self.final_path)
        self.size = size
        self._fd: int | None = None
        check_final(self.final_path)
        with output_errors(self.path):
            self._fd = open_locked(self.path)
            try:
                self.resumed = self._prepare(resume)
            except BaseException:
                self.discard()
                raise

    def _prepare(self, resume: bool) -> bool:
        fd = self._open_fd()
        status = os.fstat(fd)
        if resume and status.st_size == self.size:
            return True
        self._refuse_foreign(status.st_size)
        os.ftruncate(fd, 0)
        _check_space(self.path, self.size)
        os.ftruncate(fd, self.size)
        return False

    def _refuse_foreign(self, found: int) -> None:
        """Refuse to overwrite what no run of ggufkit can have left: see `_prepare`, `write_at`."""
        head = os.pread(self._open_fd(), len(_MAGIC), 0)
        if found in (0, self.size) or head in (_MAGIC, bytes(len(_MAGIC))):
            return
        self.close()  # it is not ours to discard
        raise OutputError(f"{self.path}: is in the way, and not of ggufkit: move it elsewhere")

    def write_at(self, offset: int, data: Any) -> None:
        """Write any C-contiguous buffer at a byte offset.

        Raises
        ------
        OutputError
            The disk is full or failed, or the data would go past the file's end.
        """
        view = memoryview(data)
        if view.nbytes == 0:
            return
        view = view.cast("B")
        if offset < 0 or offset + len(view) > self.size:
            raise OutputError(
                f"{self.path}: {len(view)} bytes at {offset} reach behind its {self.size} bytes"
            )
        with output_errors(self.path):
            write_range(self._open_fd(), offset, view)

    def sync(self) -> None:
        """Wait until everything written so far is on disk."""
        with output_errors(self.path):
            os.fsync(self._open_fd())

    def publish(self) -> Path:
        """Give the finished file its final name, replacing an existing file."""
        self.sync()
        with output_errors(self.final_path):
            # Rename while the lock is held: nobody else can be writing this file.
            self.path.replace(self.final_path)
            self.close()
            sync_folder(self.final_path.parent)
        return self.final_path

    def discard(self) -> None:
        """Remove the partial file."""
        if self._fd is not None:
            with output_errors(self.path):
                self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the file and keep the partial file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError(f"{self.path} is closed")
        return self._fd


def write_into_partial(final_path: str | os.PathLike[str], offset: int, data: Any) -> None:
    """Write a C-contiguous buffer into the partial file that another process may hold open.

    Raises
    ------
    OutputError
        The partial file does not exist, or the disk is full or failed.
    """
    path = partial_path(Path(final_path))
    with output_errors(path):
        fd = os.open(path, os.O_WRONLY | _NO_LINKS)
        try:
            write_range(fd, offset, memoryview(data).cast("B"))
        finally:
            os.close(fd)


def check_final(path: Path) -> None:
    """Raise `OutputError` if a name is taken by a folder, a link or anything else but a file."""
    with output_errors(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        raise OutputError(f"{path}: exists and is not a regular file; choose another name")


def open_locked(path: Path) -> int:
    """Open or create a file, never through a link, and lock it for this process.

    Returns
    -------
    int
        Its descriptor; the lock is released when it is closed or the process ends.

    Raises
    ------
    OSError
        With ``EAGAIN``: another process holds the lock.
    """
    # without blocking: a FIFO has no other end
    flags = os.O_RDWR | os.O_CREAT | _NO_LINKS | getattr(os, "O_NONBLOCK", 0)
    while True:
        fd = os.open(path, flags, 0o666)
        try:
            _refuse_links(fd)
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        # Its last owner renamed or removed it between our open and our lock.
        os.close(fd)


def _refuse_links(fd: int) -> None:
    """Raise unless a file is a regular one with a single name: writing would change the others."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EEXIST, "exists and is not a regular file")
    if status.st_nlink > 1:
        raise OSError(errno.EMLINK, "is a hard link, a second name of another file")


def create_new(path: Path) -> int:
    """Create a file that must not exist, not even as a link, and return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o666)


def _is_same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _check_space(path: Path, size: int) -> None:
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    if size > free:
        raise OutputError(
            f"{path}: needs {size} bytes, {free} are free on its disk; free some or choose "
            "another folder"
        )


ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file system or a limit does not allow files of this size",
    errno.EROFS: "the folder is read-only: choose another one",
    errno.EACCES: "the folder is not writable: choose another one",
    errno.EPERM: "the folder is not writable: choose another one",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.ELOOP: "it is a symbolic link: remove it",
    errno.EMLINK: "remove it",
    errno.EEXIST: "remove it, or choose another name",
    errno.EAGAIN: "another process is writing this file",
}


@contextmanager
def output_errors(
    path: Path,
    advice: Mapping[int, str] = ADVICE,
    otherwise: str = "check the disk and the path",
) -> Iterator[None]:
    """Turn an `OSError` into an `OutputError` with path and advice."""
    try:
        yield
    except OSError as error:
        what = advice.get(error.errno or 0, otherwise)
        raise OutputError(f"{path}: {error.strerror}; {what}") from error
