"""Bytes -> header: version, metadata, tensor infos, every one of them checked.

Nothing here trusts a length, count or offset of the file; see `ggufkit.gguf.walker`. What
``gguf_init_from_file`` of llama.cpp rejects is rejected here too; `parse_header` says what a strict
reader rejects on top.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ggufkit.errors import (
    BadLayoutError,
    BadValueError,
    FormatError,
    LimitExceededError,
    NotGGUFError,
    TruncatedError,
    UnsupportedVersionError,
)
from ggufkit.gguf import limits
from ggufkit.gguf.layout import (
    MAGIC,
    VERSION,
    TensorInfo,
    align,
    alignment_of,
    check_name,
    check_shape,
)
from ggufkit.gguf.metadata import Metadata, check_key
from ggufkit.gguf.values import Buffer, ByteOrder, EncodedValue
from ggufkit.gguf.walker import HeaderWalker, value_type_of
from ggufkit.io.file_kinds import HEAD_BYTES, or_else
from ggufkit.types import Shape, TensorType, ValueType

_TYPICAL_TENSOR_BYTES = 60  # name, dimensions, type and offset
TENSOR_TYPES = {int(tensor_type): tensor_type for tensor_type in TensorType}


@dataclass(frozen=True, slots=True)
class Header:
    """Everything before the tensor data.

    Attributes
    ----------
    version : int
        2 or 3.
    byte_order : {'<', '>'}
        Little-endian, or big-endian (version 3 only).
    metadata : Metadata
        Values are decoded when first used.
    tensors : dict of str to TensorInfo
        In file order.
    alignment, data_offset : int
        As in `Layout`.
    data_end : int
        Byte behind the last tensor's data, without the padding behind it.
    """

    version: int
    byte_order: ByteOrder
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    alignment: int
    data_offset: int
    data_end: int


def parse_header(data: Buffer, *, strict: bool = True) -> Header:
    """Parse the header at the start of `data`, which holds at least the whole header.

    Parameters
    ----------
    data : buffer
        A mapped file, or its first bytes.
    strict : bool
        Reject what llama.cpp reads but the format does not allow: strings that are not UTF-8,
        keys above 65535 bytes, empty tensor names, an alignment outside 8 to 2^20. Without it
        these are read (bytes that are not UTF-8 as surrogates), and so are nested arrays,
        big-endian files and tensors of unknown types, which llama.cpp rejects.

    Raises
    ------
    FormatError
        One of its subclasses, with the offset of what is wrong.
    """
    version, order = parse_version(data, strict=strict)
    return HeaderParser(data, order, strict).header(version)


def parse_version(data: Buffer, *, strict: bool = True) -> tuple[int, ByteOrder]:
    """Check magic and version; return the version and the byte order.

    Raises
    ------
    NotGGUFError, UnsupportedVersionError, TruncatedError
        It is not a GGUF file, or not one that can be read.
    """
    magic = bytes(data[:4])
    if magic != MAGIC:
        if len(magic) < len(MAGIC) and MAGIC.startswith(magic):
            raise TruncatedError("the file ends within the magic 'GGUF'", offset=0)
        what = or_else(bytes(data[:HEAD_BYTES]), f"it starts with {magic!r}, not b'GGUF'")
        raise NotGGUFError(f"not a GGUF file: {what}", offset=0)
    if len(data) < 8:
        raise TruncatedError("the file ends within its version", offset=4)
    (version,) = struct.unpack_from("<I", data, 4)
    order: ByteOrder = "<"
    if version and version & 0xFFFF == 0:
        # Only a big-endian file has its low half in the high half.
        order = ">"
        (version,) = struct.unpack_from(">I", data, 4)
    if version == 1:
        raise UnsupportedVersionError(
            "GGUF version 1 (2023) is no longer read, neither here nor by llama.cpp: convert the "
            "original checkpoint again",
            offset=4,
        )
    if version not in (2, VERSION) or (order == ">" and version != VERSION):
        raise UnsupportedVersionError(f"GGUF version {version}, expected 2 or 3", offset=4)
    if strict and order == ">":
        raise UnsupportedVersionError(
            "a big-endian file, whose numbers would be misread: "
            "'ggufkit convert-endian FILE OUT little' turns it",
            offset=4,
        )
    return version, order


class HeaderParser(HeaderWalker):
    """Reads a header forward from byte 8, in one byte order."""

    def __init__(self, data: Buffer, order: ByteOrder, strict: bool, size: int = -1) -> None:
        super().__init__(data, order, errors="strict" if strict else "surrogateescape", size=size)
        self.strict = strict
        self.pos = 8

    def header(self, version: int) -> Header:
        """Read everything before the tensor data."""
        n_tensors = self.count("tensors", limits.MIN_TENSOR_BYTES)
        n_pairs = self.count("metadata pairs", limits.MIN_PAIR_BYTES)
        metadata = self.metadata(n_pairs)
        alignment = alignment_of(metadata, strict=self.strict)
        tensors = self.tensors(n_tensors, alignment)
        data_offset = data_end = self.pos
        if tensors:
            data_offset = align(self.pos, alignment)
            last = next(reversed(tensors.values()))
            data_end = data_offset + last.offset + last.nbytes
        return Header(version, self.order, metadata, tensors, alignment, data_offset, data_end)

    def metadata(self, n_pairs: int) -> Metadata:
        """Read all metadata pairs."""
        entries: dict[str, EncodedValue] = {}
        for _ in range(n_pairs):
            start = self.pos
            key = self.string("a key")
            self._check_key(key, start)
            if key in entries:
                raise BadValueError(f"key {key!r} appears twice", offset=start)
            try:
                entries[key] = self.entry()
            except FormatError as error:
                raise type(error)(f"{key!r}: {error.what}", offset=error.offset) from None
        return Metadata.from_entries(entries, errors=self.errors)

    def _check_key(self, key: str, start: int) -> None:
        if not key or "\0" in key:
            raise BadValueError(f"key {key[:40]!r} is empty or holds a NUL", offset=start)
        if self.strict:
            try:
                check_key(key)
            except BadValueError as error:
                raise BadValueError(error.what, offset=start) from None

    def entry(self) -> EncodedValue:
        """Read a value type and check the value that follows."""
        value_type = value_type_of(self.u32("a value type"), self.pos - 4)
        start = self.pos
        self.pos = self.measure(start, value_type, nested=not self.strict)
        entry = EncodedValue(value_type, self.data, start, self.pos, self.order)
        if value_type is ValueType.STRING:
            entry.decode(self.errors)
        return entry

    def tensors(self, n_tensors: int, alignment: int) -> dict[str, TensorInfo]:
        """Read all tensor infos."""
        infos: dict[str, TensorInfo] = {}
        opaque: TensorInfo | None = None
        end = 0
        for n_left in range(n_tensors, 0, -1):
            start = self.pos
            self.likely_end = start + n_left * _TYPICAL_TENSOR_BYTES
            info = self._tensor()
            if info.name in infos:
                raise BadLayoutError(f"two tensors are named {info.name!r}", offset=start)
            if opaque is not None:
                # Of an unknown type only the next offset tells where the data ends.
                end = self._close(infos, opaque, info.offset, alignment)
            if info.offset != end:
                # Strict order without gaps: no two tensors share bytes, none are hidden.
                raise BadLayoutError(
                    f"tensor {info.name!r} is at offset {info.offset}, expected {end}",
                    offset=start,
                )
            end += align(info.nbytes, alignment)
            infos[info.name] = info
            opaque = None if info.type.is_known else info
        if opaque is not None:
            self._close(infos, opaque, self.size - align(self.pos, alignment), 1)
        return infos

    def _close(
        self, infos: dict[str, TensorInfo], opaque: TensorInfo, end: int, alignment: int
    ) -> int:
        """Give a tensor of an unknown type the bytes up to `end`, and return `end`."""
        if end < opaque.offset or end % alignment:
            raise BadLayoutError(
                f"tensor {opaque.name!r} of the unknown type {int(opaque.type)} at offset "
                f"{opaque.offset} can't end at {end}",
                offset=self.pos,
            )
        infos[opaque.name] = replace(opaque, opaque_bytes=end - opaque.offset)
        return end

    def _tensor(self) -> TensorInfo:
        start = self.pos
        name, shape, type_id, offset = self.tensor_fields()
        tensor_type = TENSOR_TYPES.get(type_id)
        if tensor_type is None:
            if self.strict or type_id > limits.MAX_TYPE_ID:
                raise BadValueError(
                    f"tensor {name[:80]!r} has the unknown type {type_id}", offset=start
                )
            tensor_type = TensorType.unknown(type_id)
        try:
            check_name(name, strict=self.strict)
            check_shape(name, shape, tensor_type)
        except FormatError as error:
            raise type(error)(error.what, offset=start) from None
        return TensorInfo(name, shape, tensor_type, offset)

    def tensor_fields(self) -> tuple[str, Shape, int, int]:
        """Read name, shape, id of the type, and offset of a tensor, unchecked."""
        start = self.pos
        name = self.string("a tensor name")
        n_dims = self.u32("a number of dimensions")
        if n_dims > limits.MAX_DIMS:  # then it is unknown where the next tensor starts
            raise LimitExceededError(
                f"tensor {name[:80]!r} has {n_dims} dimensions; the limit is {limits.MAX_DIMS}",
                offset=start,
            )
        ne = [self._signed(self.u64("a dimension")) for _ in range(n_dims)]
        return name, tuple(reversed(ne)), self.u32("a tensor type"), self.u64("a tensor offset")

    @staticmethod
    def _signed(value: int) -> int:
        """Dimensions are int64 in ggml."""
        return value - (1 << 64) if value >> 63 else value
