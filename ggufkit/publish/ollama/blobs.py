"""Put a file into the store without a second copy of it, if the file system allows this."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ggufkit.converter.execution.manifest import SUMS_NAME, LadderManifest
from ggufkit.errors import BadValueError, FormatError, OutputError
from ggufkit.gguf.scan import file_chunks
from ggufkit.io.atomic import PartialFile, output_errors
from ggufkit.publish.ollama.names import blob_path, parse_digest
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.hash import read_manifest, sha256_of

_FICLONE = 0x40049409  # Linux: share the blocks of another file
_LINK_FAILS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS}


@dataclass(frozen=True)
class Blob:
    """Content that a store has under its digest.

    Attributes
    ----------
    media_type : str
        The kind of content.
    digest : str
        ``sha256:...``.
    n_bytes : int
        The size in bytes.
    content : Path or bytes
        The file, or the bytes themselves.
    changed_ns : int
        The modification time of the file when it was hashed.
    """

    media_type: str
    digest: str
    n_bytes: int
    content: Path | bytes
    changed_ns: int = 0

    @classmethod
    def of_bytes(cls, media_type: str, content: bytes) -> Blob:
        """Return a blob with these bytes."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return cls(media_type, digest, len(content), content)

    @classmethod
    def of_file(
        cls, media_type: str, path: Path, *, trust_sums: bool = False, progress: Progress = silent
    ) -> Blob:
        """Hash a file, and compare the result with its recorded checksum.

        Parameters
        ----------
        trust_sums : bool
            Use the recorded checksum without hashing; only the size is compared.

        Raises
        ------
        BadValueError
            The checksum differs, or is missing but should be trusted.
        OutputError
            The file can't be read.
        """
        with output_errors(path):
            status = path.stat()
        known = _written_sum(path, status.st_size)
        if trust_sums:
            if known is None:
                raise BadValueError(
                    f"neither {SUMS_NAME} nor ladder.json has its checksum: leave --trust-sums out",
                    path=path,
                )
            progress(status.st_size)
            return cls(media_type, known, status.st_size, path, status.st_mtime_ns)
        with output_errors(path):
            digest = f"sha256:{sha256_of(path, progress)[0]}"
        if known not in (None, digest):
            raise BadValueError(
                f"its SHA-256 is {digest}, but {SUMS_NAME} or ladder.json says {known}: it was "
                "changed; make it again, or see which files did with 'ggufkit hash --check "
                f"{SUMS_NAME}'",
                path=path,
            )
        return cls(media_type, digest, status.st_size, path, status.st_mtime_ns)

    def describe(self) -> dict[str, object]:
        """Return the entry of a manifest."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.n_bytes}


def _written_sum(path: Path, n_bytes: int) -> str | None:
    entry = LadderManifest.read(path.parent).files.get(path.name)
    entry = entry if isinstance(entry, dict) else {}
    if entry.get("bytes", n_bytes) != n_bytes:
        raise BadValueError(
            f"it has {n_bytes} bytes, but ladder.json says {entry['bytes']}: make it again",
            path=path,
        )
    found = entry.get("sha256")
    if found is None:
        with suppress(FormatError, OSError):
            lines = read_manifest(path.parent / SUMS_NAME)
            found = next((digest for digest, name in lines if name == path.name), None)
    return None if found is None else parse_digest(f"sha256:{found}")


def put_blob(store: Path, blob: Blob, *, copy: bool = False) -> str:
    """Put a blob into a store, unless the store has it.

    Parameters
    ----------
    store : Path
        The store.
    blob : Blob
        The blob.
    copy : bool
        Always copy the bytes.

    Returns
    -------
    str
        How: ``there``, ``linked``, ``cloned``, ``copied`` or ``written``.

    Raises
    ------
    OutputError
        The store can't be written, or the file has changed since it was hashed.
    """
    final = blob_path(store, blob.digest)
    with output_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(blob.content, bytes):
        return _write(final, blob.content)
    if final.is_file() and final.stat().st_size == blob.n_bytes:
        return "there"
    source = blob.content.resolve()
    how = "linked" if not copy and _link(source, final) else _copy(source, final, clone=not copy)
    _refuse_change(blob, source, final)
    return how


def _write(final: Path, content: bytes) -> str:
    with suppress(OSError):
        if final.read_bytes() == content:
            return "there"
    file = PartialFile(final, len(content))
    try:
        file.write_at(0, content)
        file.publish()
    except BaseException:
        file.discard()
        raise
    return "written"


def _link(source: Path, final: Path) -> bool:
    with output_errors(final):
        final.unlink(missing_ok=True)  # left by a killed copy, of another size
        try:
            os.link(source, final)
        except OSError as error:
            if error.errno in _LINK_FAILS:
                return False
            raise
    return True


def _copy(source: Path, final: Path, *, clone: bool) -> str:
    with output_errors(source), source.open("rb") as reader:
        file = PartialFile(final, os.fstat(reader.fileno()).st_size)
        try:
            how = "cloned" if clone and _clone(reader.fileno(), file.path) else "copied"
            if how == "copied":
                _write_all(file, file_chunks(source))
            file.publish()
        except BaseException:
            file.discard()
            raise
    return how


def _write_all(file: PartialFile, chunks: Iterable[bytes]) -> None:
    at = 0
    for chunk in chunks:
        file.write_at(at, chunk)
        at += len(chunk)


def _clone(source: int, target: Path) -> bool:
    try:
        import fcntl

        with target.open("r+b") as file:  # a partial file, which is locked and no link
            fcntl.ioctl(file.fileno(), _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True


def _refuse_change(blob: Blob, source: Path, final: Path) -> None:
    with output_errors(source):
        status = source.stat()
        if (status.st_size, status.st_mtime_ns) == (blob.n_bytes, blob.changed_ns):
            return
        final.unlink(missing_ok=True)
    raise OutputError(f"{source}: changed while it was read: try again when it is complete")
