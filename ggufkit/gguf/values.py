"""One metadata value <-> bytes.

A value is stored behind its type id; an array carries the type id and count of its items::

    fixed size   | value |                                  u8 .. f64, bool
    STRING       | length: u64 | utf-8 bytes, no NUL |
    ARRAY        | item type: u32 | count: u64 | items |    items without type ids

Everything is little-endian, except in big-endian files of version 3. Values stay in their
encoded form (`EncodedValue`) until they are used: opening a file creates no object per token.

Source: the section "File Structure" of ggml's docs/gguf.md, and ``gguf_reader`` in gguf.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ggufkit.errors import BadValueError, WrongValueTypeError
from ggufkit.gguf import limits
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from mmap import mmap

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap"
ByteOrder: TypeAlias = Literal["<", ">"]
Value: TypeAlias = bool | int | float | str | Sequence["Value"]

#: struct code of every value type of fixed size; STRING and ARRAY have none.
CODES: dict[ValueType, str] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}

_FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)
ARRAY_HEAD = 12  # item type: u32, count: u64


@dataclass(frozen=True, slots=True)
class EncodedValue:
    """A value in its encoded form: a section of a buffer.

    Attributes
    ----------
    type : ValueType
        Type of the value; ARRAY for arrays.
    data : buffer
        Holds the encoded value in ``data[start:stop]``, without its type id.
    start, stop : int
        Bounds in `data`.
    order : {'<', '>'}
        Byte order of `data`.
    """

    type: ValueType
    data: Buffer
    start: int
    stop: int
    order: ByteOrder = "<"

    @property
    def item_type(self) -> ValueType:
        """Type of an array's items."""
        return ValueType(struct.unpack_from(f"{self.order}I", self.data, self.start)[0])

    @property
    def n_items(self) -> int:
        """Number of an array's items."""
        return int(struct.unpack_from(f"{self.order}Q", self.data, self.start + 4)[0])

    def decode(self, errors: str = "strict") -> Value:
        """Return the value; strings are UTF-8, `errors` as in `bytes.decode`."""
        return decode(self.data, self.start, self.type, self.order, errors)[0]

    def first_items(self, n: int, errors: str = "strict") -> list[Value]:
        """Return an array's first `n` items, or all if there are fewer; the rest isn't touched."""
        return _decode_array(self.data, self.start, self.order, errors, n)[0]

    def encoded(self, order: ByteOrder = "<") -> bytes:
        """Return the value's bytes, as a file of this byte order holds them behind the type id."""
        if self.order == order:
            return bytes(self.data[self.start : self.stop])
        return swapped(self.data, self.start, self.type, self.order)[0]


def encode(value: Any, value_type: ValueType, *, errors: str = "strict") -> bytes:
    """Encode one value that is not an array, little-endian.

    Raises
    ------
    WrongValueTypeError
        The value is of the wrong kind, or out of the type's range.
    """
    if value_type is ValueType.STRING:
        return _encode_string(value, errors)
    if value_type is ValueType.ARRAY:
        raise WrongValueTypeError("an array of arrays: llama.cpp can't read it, store flat arrays")
    return _pack([value], value_type)


def encode_array(items: Any, item_type: ValueType, *, errors: str = "strict") -> bytes:
    """Encode an array, little-endian; `items` is any sequence, or a 1-D ndarray.

    Raises
    ------
    WrongValueTypeError
        An item does not fit `item_type`.
    """
    items = items.tolist() if hasattr(items, "tolist") else items
    head = struct.pack("<IQ", item_type, len(items))
    if item_type is ValueType.STRING:
        return head + b"".join([_encode_string(item, errors) for item in items])
    if item_type is ValueType.ARRAY:
        return head + b"".join([encode(item, item_type) for item in items])
    return head + _pack(items, item_type)


def _encode_string(value: Any, errors: str) -> bytes:
    if isinstance(value, str):
        try:
            value = value.encode("utf-8", errors)
        except UnicodeEncodeError as error:
            raise WrongValueTypeError(f"{value!r} has no UTF-8 form: {error.reason}") from None
    if not isinstance(value, bytes | bytearray):
        raise WrongValueTypeError(f"expected a string, got {_describe(value)}")
    return struct.pack("<Q", len(value)) + value


def _pack(items: Sequence[Any], item_type: ValueType) -> bytes:
    if not isinstance(items, bytes | bytearray):
        _check_kind(items, item_type)
    try:
        return struct.pack(f"<{len(items)}{CODES[item_type]}", *items)
    except (struct.error, OverflowError) as error:
        worst = max(items, key=lambda item: abs(item)) if items else None
        raise WrongValueTypeError(
            f"{_describe(worst)} does not fit {item_type.name}: {error}"
        ) from None


def _check_kind(items: Sequence[Any], item_type: ValueType) -> None:
    """Reject values that `struct` would convert silently: bools as numbers, anything as a bool."""
    for item in items:
        if item_type is ValueType.BOOL:
            fits = isinstance(item, bool) or type(item).__name__ == "bool"
        elif isinstance(item, bool):
            fits = False
        elif item_type in _FLOATS:
            fits = hasattr(item, "__float__") and not isinstance(item, str)
        else:
            fits = hasattr(item, "__index__")
        if not fits:
            raise WrongValueTypeError(f"expected {item_type.name}, got {_describe(item)}")


def _describe(value: Any) -> str:
    text = repr(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f"{type(value).__name__} {text}"


def decode(
    data: Buffer, start: int, value_type: ValueType, order: ByteOrder, errors: str = "strict"
) -> tuple[Value, int]:
    """Decode one value whose bounds `measure` has checked; return it and the byte behind it."""
    if value_type is ValueType.STRING:
        (length,) = struct.unpack_from(f"{order}Q", data, start)
        stop = start + 8 + length
        return decode_string(data, start + 8, stop, errors), stop
    if value_type is ValueType.ARRAY:
        return _decode_array(data, start, order, errors)
    code = f"{order}{CODES[value_type]}"
    value: Value = struct.unpack_from(code, data, start)[0]
    return value, start + struct.calcsize(code)


def decode_string(data: Buffer, start: int, stop: int, errors: str = "strict") -> str:
    """Decode UTF-8.

    Raises
    ------
    BadValueError
        The bytes are not UTF-8.
    """
    try:
        return str(data[start:stop], "utf-8", errors)
    except UnicodeDecodeError as error:
        raise BadValueError(
            f"a string is not UTF-8 ({error.reason}): 'ggufkit check FILE' says what to do",
            offset=start + error.start,
        ) from None


def _decode_array(
    data: Buffer, start: int, order: ByteOrder, errors: str, at_most: int = limits.MAX_ARRAY_ITEMS
) -> tuple[list[Value], int]:
    type_id, count = struct.unpack_from(f"{order}IQ", data, start)
    count = min(count, at_most)
    item_type = ValueType(type_id)
    pos = start + ARRAY_HEAD
    if item_type in CODES:
        code = f"{order}{count}{CODES[item_type]}"
        return list(struct.unpack_from(code, data, pos)), pos + struct.calcsize(code)
    items: list[Value] = []
    if item_type is ValueType.STRING:
        length_at = struct.Struct(f"{order}Q").unpack_from
        for _ in range(count):
            stop = pos + 8 + length_at(data, pos)[0]
            items.append(decode_string(data, pos + 8, stop, errors))
            pos = stop
        return items, pos
    for _ in range(count):
        item, pos = _decode_array(data, pos, order, errors)
        items.append(item)
    return items, pos


def swapped(data: Buffer, start: int, value_type: ValueType, order: ByteOrder) -> tuple[bytes, int]:
    """Return a value's bytes in the other byte order, and the byte behind it."""

    def items(at: int, count: int, size: int) -> tuple[bytes, int]:
        raw, out = bytes(data[at : at + count * size]), bytearray(count * size)
        for i in range(size):
            out[i::size] = raw[size - 1 - i :: size]
        return bytes(out), at + count * size

    if value_type in CODES:
        return items(start, 1, size_of(value_type))
    if value_type is ValueType.STRING:
        length, pos = items(start, 1, 8)
        (n_bytes,) = struct.unpack_from(f"{order}Q", data, start)
        return length + bytes(data[pos : pos + n_bytes]), pos + n_bytes
    type_id, count = struct.unpack_from(f"{order}IQ", data, start)
    parts = [items(start, 1, 4)[0], items(start + 4, 1, 8)[0]]
    pos, item_type = start + ARRAY_HEAD, ValueType(type_id)
    if item_type in CODES:
        part, pos = items(pos, count, size_of(item_type))
        return b"".join((*parts, part)), pos
    for _ in range(count):
        part, pos = swapped(data, pos, item_type, order)
        parts.append(part)
    return b"".join(parts), pos


def size_of(value_type: ValueType) -> int:
    """Return the bytes of a value of fixed size."""
    return struct.calcsize(f"<{CODES[value_type]}")
