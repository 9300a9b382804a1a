"""Hashes of a model's payload in the form of ``llama-gguf-hash``: tensors' bytes, no header.

::

    xxh64     9c4f7a0b1d2e3f40  model.gguf:blk.0.attn_q.weight
    xxh64     0123456789abcdef  model.gguf

The last line is the hash of all tensors' data, in file order, without padding.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ggufkit.errors import FormatError, MissingFileError
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import chunks_of
from ggufkit.toolbox import Progress, silent

ALGORITHMS = ("xxh64", "sha1", "sha256")
_LINE = re.compile(r"(xxh64|sha1|sha256)\s+([0-9a-f]{16,64})  (.+)")


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class PayloadLine:
    """A line of such a manifest.

    Attributes
    ----------
    algorithm : str
        One of `ALGORITHMS`.
    digest : str
        In hexadecimal.
    name : str
        The file, or ``file:tensor``.
    """

    algorithm: str
    digest: str
    name: str

    def __str__(self) -> str:
        return f"{self.algorithm:<8}  {self.digest}  {self.name}"


def payload_lines(
    path: str | os.PathLike[str],
    algorithms: Sequence[str] = ("xxh64",),
    *,
    tensors: bool = True,
    progress: Progress = silent,
) -> list[PayloadLine]:
    """Return the hashes of a file's tensors and of all of them together.

    Parameters
    ----------
    path : path-like
        A GGUF file, or any part of a split one, read as one model.
    algorithms : sequence of str
        Any of `ALGORITHMS`.
    tensors : bool
        Whether to list each tensor.
    progress : callable
        Called with the number of bytes, as they are read.

    Raises
    ------
    FormatError, MissingFileError
        The file can't be read.
    """
    name = Path(path).name
    lines: list[PayloadLine] = []
    whole = [_start(algorithm) for algorithm in algorithms]
    with open_gguf(path) as model:
        for info in model.tensors.values():
            own = [_start(algorithm) for algorithm in algorithms]
            for chunk in chunks_of([info]):
                data = chunk.read(model)
                for each in (*own, *whole):
                    each.update(data)
                progress(len(data))
            if tensors:
                lines += [
                    PayloadLine(algorithm, sum_.hexdigest(), f"{name}:{info.name}")
                    for algorithm, sum_ in zip(algorithms, own, strict=True)
                ]
    totals = zip(algorithms, whole, strict=True)
    return lines + [PayloadLine(a, sum_.hexdigest(), name) for a, sum_ in totals]


def _start(algorithm: str) -> _Sum:
    if algorithm == "xxh64":
        import xxhash

        return xxhash.xxh64()
    makers: dict[str, Callable[..., Any]] = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
    made: _Sum = makers[algorithm](usedforsecurity=False)
    return made


def read_payload_manifest(path: str | os.PathLike[str]) -> list[PayloadLine]:
    """Return the lines of a manifest that llama-gguf-hash or ``ggufkit hash --xxh64`` printed.

    Raises
    ------
    MissingFileError
        It can't be read.
    FormatError
        There is no such line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror}") from error
    matches = filter(None, map(_LINE.fullmatch, text.splitlines()))
    lines = [PayloadLine(m[1], m[2], m[3]) for m in matches]
    if not lines:
        raise FormatError("has no line in the form of llama-gguf-hash", path=path)
    return lines


def is_payload_manifest(path: str | os.PathLike[str]) -> bool:
    """Whether a file looks like such a manifest."""
    try:
        with Path(path).open(encoding="utf-8", errors="surrogateescape") as file:
            return any(_LINE.fullmatch(line.rstrip("\n")) for line in file)
    except OSError:
        return False


def check_payload(
    manifest: str | os.PathLike[str], *, progress: Progress = silent
) -> list[tuple[str, str]]:
    """Compare files with a manifest; names are relative to the manifest's folder.

    Returns
    -------
    list of (str, str)
        Each line's name, and ``ok``, ``different`` or ``missing``.

    Raises
    ------
    MissingFileError, FormatError
        The manifest can't be read.
    """
    lines = read_payload_manifest(manifest)
    folder = Path(manifest).parent
    found: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(line.name.partition(":")[0] for line in lines):
        wanted = sorted({line.algorithm for line in lines if line.name.partition(":")[0] == name})
        try:
            measured = payload_lines(folder / name, wanted, progress=progress)
        except (MissingFileError, FormatError):
            continue
        found |= {(line.algorithm, line.name): line.digest for line in measured}
    states = []
    for line in lines:
        digest = found.get((line.algorithm, line.name))
        state = "missing" if digest is None else "ok" if digest == line.digest else "different"
        states.append((line.name, state))
    return states
