r"""SHA-256 of files, of tensors and of a model's weights; manifests of such sums.

The *weights digest* says whether two models have the same weights, however they are stored. It is
the SHA-256 of one line per tensor, in the order of the names' code points::

    ["output.weight","Q6_K",[32000,4096],"9f86d081884c7d65..."]\n

a JSON array without spaces, in ASCII, of name, tensor type, shape (numpy order) and the SHA-256 of
the tensor's data. Metadata, order of tensors, alignment, padding and splits don't enter into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ggufkit.errors import FormatError, MissingFileError
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import byte_ranges, file_chunks, map_in_order
from ggufkit.io.positional import read_range
from ggufkit.toolbox import Progress, silent

if TYPE_CHECKING:
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.gguf.reader import GGUFFile

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True, slots=True)
class FileHash:
    """Digests of a model, as lower-case hexadecimal text.

    Attributes
    ----------
    files : dict of Path to str
        SHA-256 of every part, of all its bytes.
    tensors : dict of str to str
        SHA-256 of every tensor's data, without padding, in file order.
    weights : str
        The weights digest; see the module.
    """

    files: dict[Path, str]
    tensors: dict[str, str]
    weights: str


def hash_file(
    path: str | os.PathLike[str], *, jobs: int | None = None, progress: Progress = silent
) -> FileHash:
    """Hash a GGUF file, or all parts of a split one. Every byte is read once.

    Parameters
    ----------
    path : path-like
        The file, or any part of a split.
    jobs : int, optional
        Parts to read at a time; one per CPU by default. With 1, no threads are used.
    progress : callable
        Called with the number of bytes, as they are read.

    Raises
    ------
    FormatError
        A file breaks the format, or shrinks while it is read.
    MissingFileError
        A file is missing.

    Examples
    --------
    >>> import numpy as np, tempfile, ggufkit
    >>> path = tempfile.mkdtemp() + "/tiny.gguf"
    >>> data = {"a.weight": (np.zeros((1, 32), np.float32), ggufkit.TensorType.Q8_0)}
    >>> _ = ggufkit.save(path, {"general.architecture": "llama"}, data)
    >>> ggufkit.hash_file(path).weights[:16]
    '2cdaeff486f63202'
    """
    jobs = jobs or os.cpu_count() or 1
    files: dict[Path, str] = {}
    tensors: dict[str, str] = {}
    with open_gguf(path) as model:
        parts = [part for part in model.parts if part.path is not None]
        n_threads = jobs if jobs > 1 else 0
        hashed = map_in_order(lambda part: _hash_part(part, jobs > 1, progress), parts, n_threads)
        for part, (digest, of_tensors) in zip(parts, hashed, strict=True):
            files[part.path or Path(path)] = digest
            tensors.update(of_tensors)
        return FileHash(files, tensors, weights_digest(model.tensors.values(), tensors))


def weights_digest(infos: Iterable[TensorInfo], digests: dict[str, str]) -> str:
    """Return the weights digest of tensors whose data has these SHA-256 sums."""
    lines = hashlib.sha256()
    for info in sorted(infos, key=lambda info: info.name):
        fields = [info.name, info.type.name, info.shape, digests[info.name]]
        lines.update(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
    return lines.hexdigest()


def _hash_part(part: GGUFFile, in_threads: bool, progress: Progress) -> tuple[str, dict[str, str]]:
    """Hash a file and its tensors in one pass: tensors in a second thread, if allowed."""
    whole = hashlib.sha256()
    tensors = {name: hashlib.sha256() for name in part.tensors}

    def read() -> Iterator[tuple[str, bytes]]:
        for name, data in _contents(part):
            whole.update(data)
            progress(len(data))
            if name is not None:
                yield name, data

    # One thread: the chunks of a tensor have to come in order.
    deque(map_in_order(lambda item: tensors[item[0]].update(item[1]), read(), int(in_threads)), 0)
    return whole.hexdigest(), {name: digest.hexdigest() for name, digest in tensors.items()}


def _contents(part: GGUFFile) -> Iterator[tuple[str | None, bytes]]:
    """Yield all bytes of a file, in chunks, with the tensor that they belong to, if any."""
    with Path(part.path or "").open("rb", buffering=0) as file:
        at = 0
        for name, n_bytes in _stretches(part):
            for start, size in byte_ranges(n_bytes):
                yield name, read_range(file.fileno(), at + start, size, part.path)
            at += n_bytes


def _stretches(part: GGUFFile) -> Iterator[tuple[str | None, int]]:
    """Yield the sections of a file: the tensor's name, or None, and the number of bytes."""
    at = 0
    for info in part.tensors.values():
        start = part.data_offset + info.offset
        yield None, start - at
        yield info.name, info.nbytes
        at = start + info.nbytes
    yield None, part.file_size - at


@dataclass(frozen=True, slots=True)
class Check:
    """The result for one entry of a manifest.

    Attributes
    ----------
    name : str
        The file's name in the manifest.
    status : {'ok', 'different', 'missing'}
        Missing: the file does not exist or can't be read.
    n_bytes : int
        Bytes that were read.
    """

    name: str
    status: Literal["ok", "different", "missing"]
    n_bytes: int


def manifest_line(digest: str, name: str) -> str:
    r"""Return a line as sha256sum writes it.

    Examples
    --------
    >>> manifest_line("9f86", "odd\nname.gguf")
    '\\9f86  odd\\nname.gguf'
    """
    escaped = "".join(_ESCAPES.get(char, char) for char in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}"


def read_manifest(path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Return the digests and names that a manifest such as ``SHA256SUMS`` lists.

    Raises
    ------
    MissingFileError
        The manifest can't be read.
    FormatError
        A line does not have sha256sum's form, or there are no lines.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from error
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise FormatError(
                f"line {number} is not 'SHA256  NAME', as sha256sum writes it", path=path
            )
        entries.append((match[2].lower(), _unescape(match[3]) if match[1] else match[3]))
    if not entries:
        raise FormatError("lists no files: is it a manifest of sha256sum?", path=path)
    return entries


def _unescape(name: str) -> str:
    plain = {escaped: char for char, escaped in _ESCAPES.items()}
    return re.sub(r"\\[\\nr]", lambda match: plain[match[0]], name)


def check_manifest(
    path: str | os.PathLike[str], *, jobs: int | None = None, progress: Progress = silent
) -> list[Check]:
    """Compare files with a manifest; their names are relative to the manifest's folder.

    Parameters
    ----------
    path : path-like
        A manifest such as ``SHA256SUMS``; its files may be of any kind.
    jobs : int, optional
        Files to read at a time; one per CPU by default.
    progress : callable
        Called with the number of bytes, as they are read.

    Raises
    ------
    MissingFileError, FormatError
        The manifest itself can't be read.
    """
    folder = Path(path).parent

    def check(entry: tuple[str, str]) -> Check:
        digest, name = entry
        try:
            if not stat.S_ISREG((folder / name).stat().st_mode):  # a FIFO would never end
                return Check(name, "missing", 0)
            found, size = sha256_of(folder / name, progress)
        except (OSError, ValueError):  # ValueError: a NUL in the name
            return Check(name, "missing", 0)
        return Check(name, "ok" if found == digest else "different", size)

    return list(map_in_order(check, read_manifest(path), jobs))


def sha256_of(path: Path, progress: Progress = silent) -> tuple[str, int]:
    """Return the SHA-256 and the size of any file."""
    digest, size = hashlib.sha256(), 0
    for chunk in file_chunks(path):
        digest.update(chunk)
        size += len(chunk)
        progress(len(chunk))
    return digest.hexdigest(), size
