"""The ZIP archive around a torch checkpoint: check it, and find the bytes of each entry.

``torch.save`` writes one uncompressed entry per storage, next to the pickle that describes the
tensors::

    NAME/data.pkl   NAME/byteorder   NAME/data/0   NAME/data/1   ...   NAME/version

Nothing is extracted: entries are ranges of the file. An archive that two readers could interpret
differently (compressed, overlapping or repeated entries, names that differ between the central
directory and the entry) is refused.
"""

from __future__ import annotations

import struct
import zipfile
from typing import IO, TYPE_CHECKING

from ggufkit.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 32 << 20

_END = struct.Struct("<4s4H2LH")  # end of central directory
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL_BYTES = 30  # size of the header before an entry's bytes, without name and extra field
_MAX_COMMENT = 0xFFFF
_ENCRYPTED = 0x1

Span = tuple[int, int]  # offset in the file, length


def read_entries(path: Path, file: IO[bytes], size: int) -> dict[str, Span]:
    """Return the span of each entry's bytes, by its name without the archive's top folder.

    Raises
    ------
    CheckpointError
        The file is not a ZIP archive, or not one that torch would write.
    """
    _check_directory(path, file, size)
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable ZIP archive: {error}") from error
    entries: dict[str, Span] = {}
    tops = {info.filename.partition("/")[0] for info in listed}
    if len(tops) != 1:
        raise CheckpointError(
            f"{path}: the archive has {len(tops)} top folders, expected one; is this a torch "
            "checkpoint?"
        )
    end = 0
    for info in sorted(listed, key=lambda info: info.header_offset):
        start = _entry_start(path, file, info)
        if info.header_offset < end:
            raise CheckpointError(f"{path}: entry {info.filename[:200]!r} overlaps another")
        end = start + info.file_size
        if end > size:
            raise CheckpointError(f"{path}: truncated: entry {info.filename[:200]!r} ends at {end}")
        name = info.filename.partition("/")[2]
        if name in entries:
            raise CheckpointError(f"{path}: entry {info.filename[:200]!r} occurs twice")
        entries[name] = (start, info.file_size)
    return entries


def _check_directory(path: Path, file: IO[bytes], size: int) -> None:
    """Refuse a directory that is too large before it is read into memory."""
    tail_size = min(size, _END.size + _MAX_COMMENT + _END64_LOCATOR.size)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise CheckpointError(
            f"{path}: the end of the ZIP archive is missing; is the download complete?"
        )
    _, _, _, _, n_entries, n_bytes, _, _ = _END.unpack_from(tail, at)
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        offset = _END64_LOCATOR.unpack_from(tail, locator)[2]
        if offset + _END64.size > size:
            raise CheckpointError(f"{path}: truncated: the ZIP64 directory is at byte {offset}")
        file.seek(offset)
        fields = _END64.unpack(file.read(_END64.size))
        n_entries, n_bytes = fields[7], fields[8]
    if n_entries > MAX_ENTRIES or n_bytes > MAX_DIRECTORY_BYTES:
        raise CheckpointError(
            f"{path}: an archive with {n_entries} entries and a directory of {n_bytes} bytes, "
            f"expected at most {MAX_ENTRIES} and {MAX_DIRECTORY_BYTES}"
        )


def _entry_start(path: Path, file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where an entry's bytes begin, after comparing its header with the directory."""
    where = f"{path}: entry {info.filename[:200]!r}"
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
        raise CheckpointError(f"{where}: compressed or encrypted, which torch's files never are")
    if info.compress_size != info.file_size or info.is_dir():
        raise CheckpointError(f"{where}: its sizes contradict each other")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_BYTES)
    if len(header) < _LOCAL_BYTES or header[:4] != b"PK\x03\x04":
        raise CheckpointError(f"{where}: its header is missing")
    n_name, n_extra = struct.unpack_from("<2H", header, 26)
    if file.read(n_name) != info.orig_filename.encode("utf-8", "surrogateescape"):
        raise CheckpointError(f"{where}: named differently in the archive's directory")
    return info.header_offset + _LOCAL_BYTES + int(n_name) + int(n_extra)
