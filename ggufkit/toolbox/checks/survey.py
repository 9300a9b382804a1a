"""Reading a file as far as possible: what a strict reader refuses becomes a problem in a list.

Like every reader here it trusts no length, count or offset; it just goes on where others stop:
after duplicate keys and tensors, names that are too long, contradictory offsets.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ggufkit.errors import BadLayoutError, FormatError, GGUFKitError, TruncatedError
from ggufkit.gguf import limits
from ggufkit.gguf.header import TENSOR_TYPES
from ggufkit.gguf.layout import (
    DEFAULT_ALIGNMENT,
    TensorInfo,
    align,
    alignment_of,
    check_name,
    check_shape,
)
from ggufkit.gguf.metadata import Metadata, check_key
from ggufkit.gguf.reader import FetchingParser, OpenFile
from ggufkit.gguf.values import ByteOrder, EncodedValue
from ggufkit.types import TensorType

#: More names than this make no command that can be read.
_MOST_NAMES = 8
#: The last part of a name, such as ``weight``, is kept if it is shorter than this.
_LONGEST_END = 16


@dataclass
class LenientHeader:
    """One file, as far as it can be read.

    Attributes
    ----------
    path : Path
        The file.
    version : int
        GGUF version; 0 if it can't be read.
    order : {'<', '>'}
        Byte order.
    metadata : Metadata
        The first of pairs with the same key.
    entries : dict of str to EncodedValue
        The metadata's encoded values.
    infos : list of TensorInfo
        In file order; those whose shape or type is not valid have an unknown type and no bytes.
    tensors : dict of str to TensorInfo
        The same; the first of those with the same name.
    alignment, data_offset, file_size : int
        As in `Layout`.
    problems : list of (str, str)
        Ids of rules, and messages.
    complete : bool
        Whether the header could be read to its end.
    """

    path: Path
    file_size: int
    version: int = 0
    order: ByteOrder = "<"
    metadata: Metadata = field(default_factory=Metadata)
    entries: dict[str, EncodedValue] = field(default_factory=dict)
    infos: list[TensorInfo] = field(default_factory=list)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    alignment: int = DEFAULT_ALIGNMENT
    data_offset: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False

    def start_of(self, info: TensorInfo) -> int:
        """Return the byte of the file at which a tensor's data starts."""
        return self.data_offset + info.offset

    def is_whole(self, info: TensorInfo) -> bool:
        """Whether the file holds all of a tensor's data."""
        return info.type.is_known and self.start_of(info) + info.nbytes <= self.file_size

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes:
        """Read bytes of a tensor's data; see `GGUFFile.read_bytes`."""
        size = info.nbytes - start if size is None else size
        return self.read(self.start_of(info) + start, size)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return bytes of the file; it is not kept open, as models may have thousands of parts."""
        file = OpenFile(self.path)
        try:
            return file.read(offset, n_bytes)
        finally:
            file.close()

    @cached_property
    def places(self) -> list[tuple[str, str]]:
        """Faults of the tensors' offsets: ids of rules, and messages.

        ``gguf_init_from_file`` wants every tensor where the one before it ends, padded.
        """
        if self._is_permuted():
            return [
                ("tensor-order", "the data is not in the order in which the tensors are listed")
            ]
        shared = self._overlapping()
        found: list[tuple[str, str]] = []
        end: int | None = 0
        for info in self.infos:
            expected, start = end, info.offset
            end = align(start + info.nbytes, self.alignment) if info.type.is_known else None
            if expected is None or start == expected:
                continue
            what = f"tensor {info.name!r} is at offset {start}, expected {expected}"
            if start % self.alignment:
                why = f"not a multiple of the alignment {self.alignment}"
                found.append(("unaligned-data", f"{what}: {why}"))
            elif start in shared:
                found.append(("overlapping-data", f"{what}: it shares bytes with another tensor"))
            else:
                found.append(
                    ("hole-in-data", f"{what}: bytes that belong to no tensor lie between")
                )
        return found

    def _by_offset(self) -> list[TensorInfo]:
        return sorted(self.infos, key=lambda info: (info.offset, info.nbytes))

    def _is_permuted(self) -> bool:
        """Whether the data is without gaps, but in another order than the tensors."""
        end, ordered = 0, self._by_offset()
        for info in ordered:
            if info.offset != end or not info.type.is_known:
                return False
            end += align(info.nbytes, self.alignment)
        return ordered != self.infos

    def _overlapping(self) -> set[int]:
        """Return the offsets of tensors that share bytes with others."""
        shared: set[int] = set()
        longest: TensorInfo | None = None
        for info in self._by_offset():
            if longest is not None and info.offset < longest.offset + longest.nbytes:
                shared |= {info.offset, longest.offset}
            if longest is None or info.offset + info.nbytes > longest.offset + longest.nbytes:
                longest = info
        return shared


def survey(path: Path) -> LenientHeader:
    """Read a file's header.

    Raises
    ------
    MissingFileError
        The file does not exist or can't be opened.
    """
    file = OpenFile(path)
    found = LenientHeader(path, file.size)
    try:
        _Surveyor(found, file).read()
    except FormatError as error:
        found.problems.append((_rule_of(error, found), _where(error)))
    finally:
        file.close()
    return found


def _rule_of(error: FormatError, found: LenientHeader) -> str:
    if isinstance(error, TruncatedError):
        return "truncated"
    return "unreadable-header" if found.version else "not-gguf"


def _where(error: FormatError) -> str:
    return error.what if error.offset is None else f"at byte {error.offset}: {error.what}"


class _Surveyor(FetchingParser):
    """Goes on where `HeaderParser` stops."""

    def __init__(self, found: LenientHeader, file: OpenFile) -> None:
        super().__init__(file, file.size, strict=False)
        self.found = found
        found.version, found.order = self.version, self.order
        self.bad_names: dict[str, str] = {}

    def read(self) -> None:
        found = self.found
        n_tensors = self.count("tensors", limits.MIN_TENSOR_BYTES)
        n_pairs = self.count("metadata pairs", limits.MIN_PAIR_BYTES)
        found.metadata = self.metadata(n_pairs)
        self._align()
        infos = [self._info() for _ in range(n_tensors)]
        if self.bad_names:
            first = next(iter(self.bad_names.values()))
            more = f" ({len(self.bad_names) - 1} more)" if len(self.bad_names) > 1 else ""
            self._problem("bad-tensor-name", f"{first}{more}: {self._rename_all()}")
        found.complete = True
        found.data_offset = align(self.pos, found.alignment) if n_tensors else self.pos
        found.infos = infos
        for info in infos:
            if info.name in found.tensors:
                self._problem("duplicate-tensor", f"two tensors are named {info.name!r}")
            found.tensors.setdefault(info.name, info)

    def _problem(self, rule: str, message: str) -> None:
        self.found.problems.append((rule, message))

    def metadata(self, n_pairs: int) -> Metadata:
        """Read all metadata pairs; the first of pairs with the same key counts."""
        entries = self.found.entries
        for _ in range(n_pairs):
            start = self.pos
            key = self.string("a key")
            try:
                check_key(key)
            except GGUFKitError as error:
                self._problem("bad-key", f"at byte {start}: {error}")
            try:
                entry = self.entry()
            except FormatError as error:
                raise type(error)(f"{key[:80]!r}: {error.what}", offset=error.offset) from None
            if key in entries:
                self._problem("duplicate-key", f"at byte {start}: key {key!r} appears twice")
            entries.setdefault(key, entry)
        return Metadata.from_entries(entries, errors="surrogateescape")

    def _align(self) -> None:
        try:
            self.found.alignment = alignment_of(self.found.metadata)
        except BadLayoutError as error:
            self._problem("bad-alignment", error.what)
            try:
                self.found.alignment = alignment_of(self.found.metadata, strict=False)
            except BadLayoutError:
                self.found.alignment = DEFAULT_ALIGNMENT

    def _info(self) -> TensorInfo:
        """Read a tensor info; one of an unknown type if its shape or type is not valid."""
        name, shape, type_id, offset = self.tensor_fields()
        try:
            check_name(name)
        except FormatError as error:
            self.bad_names[name] = error.what
        tensor_type = TENSOR_TYPES.get(type_id)
        if tensor_type is None:
            self._problem("unknown-tensor-type", unknown_type_message(name, type_id))
            return TensorInfo(name, shape, TensorType.unknown(type_id), offset, 0)
        try:
            check_shape(name, shape, tensor_type)
        except FormatError as error:
            self._problem("bad-shape", error.what)
            return TensorInfo(name, (), TensorType.unknown(type_id), offset, 0)
        return TensorInfo(name, shape, tensor_type, offset)

    def _rename_all(self) -> str:
        """Return the command that gives all tensors allowed names, if it can be typed."""
        names = list(self.bad_names)
        if len(names) > _MOST_NAMES or not all(_can_be_typed(name) for name in names):
            return "convert the model again, with other names"
        changes = (f"{name}={_shortened(name, i)}" for i, name in enumerate(names, 1))
        words = " ".join(f"--rename-tensor {shlex.quote(change)}" for change in changes)
        path = shlex.quote(str(self.found.path))
        return f"'ggufkit edit {path} --lenient {words}' shortens the names"


def _can_be_typed(name: str) -> bool:
    return bool(name) and name.isprintable() and "=" not in name


def _shortened(name: str, number: int) -> str:
    """Return a name that is short enough, unlike those of others, and ends alike."""
    stem, dot, last = name.rpartition(".")
    end = f"-{number}{dot}{last}" if len(last) < _LONGEST_END else f"-{number}"
    room = limits.MAX_NAME_BYTES - len(end.encode())
    return (stem or name).encode()[:room].decode(errors="ignore") + end


def unknown_type_message(name: str, type_id: int) -> str:
    """Return the message about a tensor type that is not in the table of types."""
    if type_id in REMOVED_TYPES:
        what = f"{REMOVED_TYPES[type_id]}, which ggml has removed: quantize the model again"
    else:
        what = f"{type_id}, which is unknown: is it newer than this program, or damaged?"
    return f"tensor {name[:80]!r} has the type {what}"


#: Types that ggml once had (ggml.h).
REMOVED_TYPES = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
