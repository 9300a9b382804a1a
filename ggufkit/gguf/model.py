"""Reading a model, split over files or not: `open_gguf`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ggufkit.errors import BadLayoutError, BadValueError, MissingFileError, MissingTensorError
from ggufkit.gguf.reader import GGUFFile, Tensor
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT, parse_part_name, part_name
from ggufkit.io.http_ranges import is_remote
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from ggufkit.gguf.layout import TensorInfo


class GGUFModel(Mapping[str, Tensor]):
    """One or more GGUF files read as one model; see `open_gguf`.

    Attributes
    ----------
    parts : tuple of GGUFFile
        In order; one for a file that is not split.
    metadata : Metadata
        Of the first part, without the keys of the split.
    tensors : dict of str to TensorInfo
        Of all parts, in order; offsets count within their part.
    """

    def __init__(self, parts: Iterable[GGUFFile]) -> None:
        self.parts = tuple(parts)
        self.metadata = self.parts[0].metadata
        if len(self.parts) > 1:
            self.metadata = self.metadata.copy()
            for key in (NO, COUNT, TENSORS_COUNT):
                self.metadata.pop(key, None)
        self.tensors: dict[str, TensorInfo] = {}
        self._part_of: dict[str, GGUFFile] = {}
        for part in self.parts:
            self._add(part)

    def _add(self, part: GGUFFile) -> None:
        for name, info in part.tensors.items():
            if name in self.tensors:
                raise BadLayoutError(
                    f"tensor {name!r} is in {_name_of(self._part_of[name])} too", path=part.path
                )
            self.tensors[name] = info
            self._part_of[name] = part

    @property
    def path(self) -> Path | None:
        """The first part's file."""
        return self.parts[0].path

    @property
    def version(self) -> int:
        """The first part's GGUF version."""
        return self.parts[0].version

    @property
    def alignment(self) -> int:
        """The first part's alignment."""
        return self.parts[0].alignment

    @property
    def file_size(self) -> int:
        """Bytes of all parts together."""
        return sum(part.file_size for part in self.parts)

    def part_of(self, name: str) -> GGUFFile:
        """Return the part that holds a tensor.

        Raises
        ------
        MissingTensorError
            No part does.
        """
        try:
            return self._part_of[name]
        except KeyError:
            raise MissingTensorError(f"{self.path}: no tensor is named {name!r}") from None

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes:
        """Read a stretch of a tensor's data; see `GGUFFile.read_bytes`."""
        return self.part_of(info.name).read_bytes(info, start, size)

    def close(self) -> None:
        """Close every part."""
        for part in self.parts:
            part.close()

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by name; see `GGUFFile`."""
        return self.part_of(name)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<GGUFModel {str(self.path)!r}: {len(self.parts)} parts, {len(self.tensors)} tensors>"
        )


def open_gguf(path: str | os.PathLike[str], *, strict: bool = True) -> GGUFModel:
    """Open a model: a file, or all files of the split that it is a part of.

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
        A server can't be reached, or knows no byte ranges.
    """
    if is_remote(path):
        from ggufkit.gguf.remote import open_remote

        return open_remote(str(path), strict=strict)
    with ExitStack() as opened:
        file = opened.enter_context(GGUFFile.open(path, strict=strict))
        count, _ = split_numbers(file)
        parts = [file]
        if count > 1:
            parts = _open_parts(file, count, strict, opened)
        joined = GGUFModel(parts)
        check_total(joined)
        opened.pop_all()
    return joined


def _open_parts(file: GGUFFile, count: int, strict: bool, opened: ExitStack) -> list[GGUFFile]:
    """Open the other parts next to `file`, which says it is one of `count`."""
    path = Path(file.path or "")
    found = parse_part_name(path.name)
    if found is None or found[2] != count:
        raise BadLayoutError(
            f"its metadata says it is one of {count} parts, but its name is not "
            f"{part_name('NAME', file.metadata.get_int(NO), count)!r}: give it its name back",
            path=path,
        )
    parts = []
    for index in range(count):
        sibling = path.with_name(part_name(found[0], index, count))
        part = (
            file
            if index == found[1]
            else opened.enter_context(_open_part(sibling, index, count, strict))
        )
        check_part(part, index, file)
        parts.append(part)
    return parts


def _open_part(path: Path, index: int, count: int, strict: bool) -> GGUFFile:
    try:
        return GGUFFile.open(path, strict=strict)
    except MissingFileError as error:
        raise MissingFileError(f"part {index + 1} of {count} is missing: {error}") from error


def check_part(part: GGUFFile, index: int, first: GGUFFile) -> None:
    """Check that a part says about the split what its name and the part opened first say.

    Raises
    ------
    BadLayoutError
        It does not: it belongs to another model.
    """
    wanted = {
        NO: index,
        COUNT: first.metadata.get(COUNT),
        TENSORS_COUNT: first.metadata.get(TENSORS_COUNT),
    }
    split_numbers(part)
    for key, value in wanted.items():
        if part.metadata.get(key) != value:
            raise BadLayoutError(
                f"{key} is {part.metadata.get(key)}, expected {value}: "
                "it is not a part of this model, or has been renamed",
                path=part.path,
            )


def split_numbers(file: GGUFFile) -> tuple[int, int]:
    """Return count and number that a file states, checked; (0, 0) if it is not a part."""
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


def check_total(joined: GGUFModel) -> None:
    """Check that the parts hold as many tensors as they say.

    Raises
    ------
    BadLayoutError
        They do not.
    """
    first = joined.parts[0]
    total = first.metadata.get(TENSORS_COUNT, len(joined.tensors))
    if total != len(joined.tensors):
        raise BadLayoutError(
            f"{TENSORS_COUNT} is {total}, but its {len(joined.parts)} parts hold "
            f"{len(joined.tensors)} tensors",
            path=first.path,
        )


def _name_of(file: GGUFFile) -> str:
    return file.path.name if file.path else "another part"
