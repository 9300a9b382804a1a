"""The layout of a GGUF file, planned before a byte of it is written.

::

    | "GGUF" | version: u32 | n_tensors: u64 | n_kv: u64 |
    | n_kv      x  key: string | value type: u32 | value |
    | n_tensors x  name: string | n_dims: u32 | ne: u64 each | type: u32 | offset: u64 |
    | zeros up to a multiple of the alignment |                      <- data_offset
    | tensor data, each padded with zeros to the alignment |         <- data_offset + offset

``ne`` is ggml's order of dimensions: numpy's shape, reversed. Offsets count from the data offset.
The result is byte for byte what llama.cpp writes, the padding behind the last tensor included.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from ggufkit.errors import BadLayoutError, BadValueError, LimitExceededError
from ggufkit.gguf import limits
from ggufkit.types import Shape, TensorType, ValueType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ggufkit.gguf.metadata import Metadata
    from ggufkit.gguf.values import ByteOrder

TensorSpec: TypeAlias = "TensorInfo | tuple[str, Shape, TensorType]"

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
ALIGNMENT_KEY = "general.alignment"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor without its data.

    Attributes
    ----------
    name : str
        At most 63 bytes of UTF-8.
    shape : tuple of int
        Numpy order: the last dimension is a row.
    type : TensorType
        How the weights are stored.
    offset : int
        First byte of the data, counted from the file's data offset; 0 until `plan_layout`.
    opaque_bytes : int or None
        Bytes of data, padding included, of a tensor whose type is unknown.
    """

    name: str
    shape: Shape
    type: TensorType
    offset: int = 0
    opaque_bytes: int | None = None

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of data, without padding."""
        if self.opaque_bytes is not None:
            return self.opaque_bytes
        return n_bytes(self.shape, self.type)

    @property
    def data_shape(self) -> Shape:
        """Shape of the data as bytes: (..., row_size); (n_bytes,) if the type is unknown."""
        if self.opaque_bytes is not None:
            return (self.opaque_bytes,)
        return (*self.shape[:-1], self.type.row_size(self.shape[-1] if self.shape else 1))


@dataclass(frozen=True, slots=True)
class Layout:
    """A planned file: everything but the tensors' data.

    Attributes
    ----------
    header : bytes
        All bytes before the data, padding included.
    tensors : tuple of TensorInfo
        In file order.
    data_offset : int
        Where the data starts; the length of `header`.
    alignment : int
        Every offset is a multiple of it.
    file_size : int
        Bytes of the whole file, the padding behind the last tensor included.
    """

    header: bytes
    tensors: tuple[TensorInfo, ...]
    data_offset: int
    alignment: int
    file_size: int


def align(offset: int, alignment: int) -> int:
    """Round `offset` up to a multiple of `alignment` (``GGML_PAD``)."""
    return -(-offset // alignment) * alignment


def n_bytes(shape: Shape, tensor_type: TensorType) -> int:
    """Return the bytes that a tensor's data takes (``ggml_nbytes``)."""
    row = tensor_type.row_size(shape[-1] if shape else 1)
    return row * prod(shape[:-1])


def plan_layout(
    metadata: Metadata,
    tensors: Iterable[TensorSpec],
    *,
    alignment: int | None = None,
    version: int = VERSION,
    pad_header: bool = True,
    order: ByteOrder = "<",
) -> Layout:
    """Lay out a file. Reads and writes nothing.

    Parameters
    ----------
    metadata : Metadata
        Its key ``general.alignment``, if set, is the alignment; 32 otherwise.
    tensors : iterable of TensorInfo or (name, shape, type)
        In file order; shapes in numpy order. The offset of a `TensorInfo` is ignored; one of an
        unknown type keeps its bytes.
    alignment : int, optional
        The alignment that the caller expects; only checked.
    version : {3, 2}
        GGUF version to write.
    pad_header : bool
        Whether zeros fill the header up to the alignment. gguf-py writes none where no tensors
        follow.
    order : {'<', '>'}
        Byte order of the file, little-endian by default.

    Raises
    ------
    BadValueError, BadLayoutError, LimitExceededError
        A tensor or the alignment is not allowed, or a name is used twice.
    """
    stated = alignment_of(metadata)
    if alignment not in (None, stated):
        raise BadLayoutError(
            f"alignment {alignment}, but the metadata says {stated}: set {ALIGNMENT_KEY!r} first"
        )
    if version not in (2, VERSION):
        raise BadValueError(f"GGUF version {version}, expected 2 or 3")
    infos: list[TensorInfo] = []
    offset = 0
    for info in map(tensor_info, tensors):
        shape = tuple(int(dim) for dim in info.shape)
        check_name(info.name)
        check_shape(info.name, shape, info.type)
        infos.append(replace(info, shape=shape, offset=offset))
        offset += align(infos[-1].nbytes, stated)
    check_unique(info.name for info in infos)
    head = struct.pack(f"{order}4sIQQ", MAGIC, version, len(infos), len(metadata))
    header = head + metadata.encoded(order) + b"".join(_encode_info(info, order) for info in infos)
    data_offset = align(len(header), stated) if pad_header or infos else len(header)
    header += bytes(data_offset - len(header))
    return Layout(header, tuple(infos), data_offset, stated, data_offset + offset)


def tensor_info(spec: TensorSpec) -> TensorInfo:
    """Return a tensor that is given as a record or as its fields."""
    return spec if isinstance(spec, TensorInfo) else TensorInfo(*spec)


def _encode_info(info: TensorInfo, order: ByteOrder) -> bytes:
    name = info.name.encode("utf-8", "surrogateescape")
    n_dims = len(info.shape)
    return struct.pack(
        f"{order}Q{len(name)}sI{n_dims}QIQ",
        len(name), name, n_dims, *reversed(info.shape), info.type, info.offset,
    )  # fmt: skip


def alignment_of(metadata: Metadata, *, strict: bool = True) -> int:
    """Return the alignment that the metadata states, or 32.

    Raises
    ------
    BadLayoutError
        It is not a uint32, not a power of two, or (if `strict`) not within 8 to 2^20.
    """
    if ALIGNMENT_KEY not in metadata:
        return DEFAULT_ALIGNMENT
    if metadata.type_of(ALIGNMENT_KEY) is not ValueType.UINT32:
        raise BadLayoutError(
            f"{ALIGNMENT_KEY} is {metadata.type_of(ALIGNMENT_KEY).name}, expected UINT32"
        )
    alignment = metadata.get_int(ALIGNMENT_KEY)
    least, most = (limits.MIN_ALIGNMENT, limits.MAX_ALIGNMENT) if strict else (1, 1 << 31)
    if alignment.bit_count() != 1 or not least <= alignment <= most:
        raise BadLayoutError(
            f"{ALIGNMENT_KEY} is {alignment}, expected a power of two in {least}..{most}"
        )
    return alignment


def check_name(name: str, *, strict: bool = True) -> None:
    """Check that a tensor's name has no NUL and (if `strict`) has 1 to 63 bytes.

    Raises
    ------
    BadValueError
        It is not.
    """
    size = len(name.encode("utf-8", "surrogateescape"))
    if strict and size > limits.MAX_NAME_BYTES:
        raise BadValueError(
            f"tensor name {name[:80]!r} has {size} bytes; the limit is {limits.MAX_NAME_BYTES}"
        )
    if "\0" in name or (strict and not name):
        # Programs written in C see the name end at the NUL: two names could become one.
        raise BadValueError(f"tensor name {name!r} is empty or holds a NUL")


def check_shape(name: str, shape: Shape, tensor_type: TensorType) -> None:
    """Check a tensor's dimensions against its type.

    Raises
    ------
    BadLayoutError
        A negative dimension, or a row that is not whole blocks.
    LimitExceededError
        More than 4 dimensions, or a size that int64 can't hold.
    """
    if len(shape) > limits.MAX_DIMS:
        raise LimitExceededError(
            f"tensor {name!r} has {len(shape)} dimensions; the limit is {limits.MAX_DIMS}"
        )
    if any(dim < 0 for dim in shape):
        raise BadLayoutError(f"tensor {name!r} has a negative dimension: {shape}")
    row = shape[-1] if shape else 1
    if row % tensor_type.block_size:
        raise BadLayoutError(
            f"tensor {name!r} of type {tensor_type.name} has rows of {row} weights; "
            f"they have to be a multiple of {tensor_type.block_size}"
        )
    # No product on the way may overflow in C either, where ggml_nbytes multiplies by the type's
    # size before it divides by the block's, and zeros may come last.
    if prod(max(dim, 1) for dim in shape) * tensor_type.type_size > limits.MAX_BYTES:
        raise LimitExceededError(f"tensor {name!r} of shape {shape} is larger than 2^63 bytes")


def check_unique(names: Iterable[str]) -> None:
    """Check that no tensor name is used twice.

    Raises
    ------
    BadLayoutError
        One is.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadLayoutError(f"two tensors are named {name!r}")
        seen.add(name)
