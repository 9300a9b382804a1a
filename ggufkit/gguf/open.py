"""Opening a model by name: a file, all parts of a split, or either of them on the web."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from errno import ENOENT
from pathlib import Path

from ggufkit.errors import BadLayoutError, BadValueError, MissingFileError
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT, parse_part_name, part_name
from ggufkit.io.http_ranges import is_remote
from ggufkit.types import ValueType

_Open = Callable[[str], GGUFFile]


def open_gguf(path: str | os.PathLike[str], *, strict: bool = True) -> GGUFModel:
    """Open a model: a file, or all parts of the split that it belongs to.

    Parameters
    ----------
    path : path-like
        The file; ``hf:owner/name/file.gguf`` or a URL is read by byte ranges.
    strict : bool
        See `ggufkit.gguf.header.parse_header`.

    Raises
    ------
    MissingFileError
        The file or another part is missing; the message names it.
    FormatError
        A part breaks the format, or the parts do not belong together.
    RemoteError
        A server can't be reached, or does not support byte ranges.
    """
    with ExitStack() as opened:

        def open_one(name: str) -> GGUFFile:
            return opened.enter_context(_file_class(name).open(name, strict=strict))

        file = open_one(os.fspath(path))
        count, _ = _split_numbers(file)
        parts = [file] if count <= 1 else _open_parts(os.fspath(path), file, count, open_one)
        model = GGUFModel(parts)
        _check_total(model)
        opened.pop_all()
    return model


def _file_class(name: str) -> type[GGUFFile]:
    if not is_remote(name):
        return GGUFFile
    from ggufkit.gguf.remote import RemoteFile  # loads an HTTP client

    return RemoteFile


def _open_parts(name: str, file: GGUFFile, count: int, open_one: _Open) -> list[GGUFFile]:
    """Open the other parts next to `file`, which says that it is one of `count`."""
    own = (file.path or Path()).name
    found = parse_part_name(own)
    if found is None or found[2] != count or own not in name:
        expected = part_name("NAME", file.metadata.get_int(NO), count)
        raise BadLayoutError(
            f"its metadata says that it is one of {count} parts, but its name is not "
            f"{expected!r}: rename it back",
            path=file.path,
        )
    parts = []
    for index in range(count):
        sibling = part_name(found[0], index, count)
        where = name.replace(own, sibling) if is_remote(name) else Path(name).with_name(sibling)
        part = file if index == found[1] else _open_part(str(where), index, count, open_one)
        _check_part(part, index, file)
        parts.append(part)
    return parts


def _open_part(name: str, index: int, count: int, open_one: _Open) -> GGUFFile:
    try:
        return open_one(name)
    except MissingFileError as error:
        exists = isinstance(error.__cause__, OSError) and error.__cause__.errno != ENOENT
        what = "can't be opened" if exists else "is missing"
        raise MissingFileError(f"part {index + 1} of {count} {what}: {error}") from error


def _check_part(part: GGUFFile, index: int, first: GGUFFile) -> None:
    """Check that a part's split keys agree with its name and with the part opened first.

    Raises
    ------
    BadLayoutError
        It belongs to another model.
    """
    wanted = {
        NO: index,
        COUNT: first.metadata.get(COUNT),
        TENSORS_COUNT: first.metadata.get(TENSORS_COUNT),
    }
    _split_numbers(part)
    for key, value in wanted.items():
        if part.metadata.get(key) != value:
            raise BadLayoutError(
                f"{key} is {part.metadata.get(key)}, expected {value}: "
                "not a part of this model, or renamed",
                path=part.path,
            )


def _split_numbers(file: GGUFFile) -> tuple[int, int]:
    """Return the checked split count and number of a file; (0, 0) if it is not a part."""
    metadata = file.metadata
    if COUNT not in metadata:
        return 0, 0
    for key in (NO, COUNT):
        if key not in metadata or metadata.type_of(key) is not ValueType.UINT16:
            raise BadValueError(f"{key} is missing or not UINT16", path=file.path)
    count, number = metadata.get_int(COUNT), metadata.get_int(NO)
    if count and number >= count:
        raise BadValueError(f"{NO} is {number}, but {COUNT} is {count}", path=file.path)
    return count, number


def _check_total(joined: GGUFModel) -> None:
    """Check that the parts hold as many tensors as stated, or raise `BadLayoutError`."""
    first = joined.parts[0]
    total = first.metadata.get(TENSORS_COUNT, len(joined.tensors))
    if total != len(joined.tensors):
        raise BadLayoutError(
            f"{TENSORS_COUNT} is {total}, but its {len(joined.parts)} parts hold "
            f"{len(joined.tensors)} tensors",
            path=first.path,
        )
