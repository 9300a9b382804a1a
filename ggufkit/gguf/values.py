"""One metadata value <-> bytes.

A value is stored behind its type id; an array carries the type id and count of its items::

    fixed size   | value |                                  u8 .. f64, bool
    STRING       | length: u64 | utf-8 bytes, no NUL |
    ARRAY        | item type: u32 | count: u64 | items |    items without type ids

Everything is little-endian, except in big-endian files of version 3. Values stay in their
encoded form (`EncodedValue`) until somebody asks for them: opening a file costs no object per
token.

Source: the section "File Structure" of ggml's docs/gguf.md, and ``gguf_reader`` in gguf.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ggufkit.errors import BadValueError, LimitExceededError, TruncatedError, WrongValueTypeError
from ggufkit.gguf import limits
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from mmap import mmap

Buffer: TypeAlias = "bytes | bytearray | memoryview | mmap"
ByteOrder: TypeAlias = Literal["<", ">"]
Value: TypeAlias = "bool | int | float | str | Sequence[Value]"

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
_ARRAY_HEAD = 12  # item type: u32, count: u64


@dataclass(frozen=True, slots=True)
class EncodedValue:
    """A value in its encoded form: a stretch of a buffer.

    Attributes
    ----------
    type : ValueType
        Type of the value; ARRAY for arrays.
    data : buffer
        Holds the encoded value in ``data[start:stop]``, without its type id.
    start, stop : int
        Where in `data`.
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

    def encoded(self) -> bytes:
        """Return the value's little-endian bytes, as a file holds them behind the type id."""
        if self.order == "<":
            return bytes(self.data[self.start : self.stop])
        value = self.decode("surrogateescape")
        if self.type is ValueType.ARRAY:
            return encode_array(value, self.item_type, errors="surrogateescape")
        return encode(value, self.type, errors="surrogateescape")


def encode(value: Any, value_type: ValueType, *, errors: str = "strict") -> bytes:
    """Encode one value that is not an array, little-endian.

    Raises
    ------
    WrongValueTypeError
        The value is of another kind, or out of the type's range.
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
    """Reject what `struct` would convert in silence: bools as numbers, anything as a bool."""
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
            f"a string is not UTF-8 ({error.reason}); open with strict=False to read it anyway",
            offset=start + error.start,
        ) from None


def _decode_array(
    data: Buffer, start: int, order: ByteOrder, errors: str, at_most: int = limits.MAX_ARRAY_ITEMS
) -> tuple[list[Value], int]:
    type_id, count = struct.unpack_from(f"{order}IQ", data, start)
    count = min(count, at_most)
    item_type = ValueType(type_id)
    pos = start + _ARRAY_HEAD
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


def measure(
    data: Buffer,
    start: int,
    value_type: ValueType,
    order: ByteOrder = "<",
    *,
    nested: bool = False,
    depth: int = 1,
) -> int:
    """Return the byte behind a value, having checked every length in it against the buffer.

    Allocates nothing, whatever the value claims to hold, and takes constant time for arrays of
    fixed-size items.

    Parameters
    ----------
    nested : bool
        Allow arrays of arrays, to a depth of `limits.MAX_NESTING`.

    Raises
    ------
    TruncatedError
        The value reaches behind the buffer's end.
    BadValueError, LimitExceededError
        An unknown item type, a nested array, or a length above a limit.
    """
    if value_type is ValueType.STRING:
        need(data, start, 8, "a string's length")
        (length,) = struct.unpack_from(f"{order}Q", data, start)
        if length > limits.MAX_STRING_BYTES:
            raise LimitExceededError(
                f"a string of {length} bytes; the limit is {limits.MAX_STRING_BYTES}", offset=start
            )
        return need(data, start + 8, length, "a string")
    if value_type is ValueType.ARRAY:
        return _measure_array(data, start, order, nested, depth)
    return need(data, start, struct.calcsize(f"<{CODES[value_type]}"), f"a {value_type.name}")


def _measure_array(data: Buffer, start: int, order: ByteOrder, nested: bool, depth: int) -> int:
    pos = need(data, start, _ARRAY_HEAD, "an array's type and count")
    type_id, count = struct.unpack_from(f"{order}IQ", data, start)
    item_type = value_type_of(type_id, start)
    if count > limits.MAX_ARRAY_ITEMS:
        raise LimitExceededError(
            f"an array of {count} items; the limit is {limits.MAX_ARRAY_ITEMS}", offset=start
        )
    if item_type in CODES:
        size = struct.calcsize(f"<{CODES[item_type]}")
        return need(data, pos, count * size, f"an array of {count} {item_type.name}")
    if item_type is ValueType.STRING:
        need(data, pos, count * 8, f"an array of {count} strings")
        return _measure_strings(data, pos, count, order)
    if not nested:
        raise BadValueError(
            "an array of arrays, which llama.cpp rejects; open with strict=False to read it",
            offset=start,
        )
    if depth >= limits.MAX_NESTING:
        raise LimitExceededError(f"arrays nested deeper than {limits.MAX_NESTING}", offset=start)
    need(data, pos, count * _ARRAY_HEAD, f"an array of {count} arrays")
    for _ in range(count):
        pos = _measure_array(data, pos, order, nested, depth + 1)
    return pos


def _measure_strings(data: Buffer, pos: int, count: int, order: ByteOrder) -> int:
    """Walk over the lengths of `count` strings: the one loop that runs per token at open."""
    length_at = struct.Struct(f"{order}Q").unpack_from
    start = pos
    try:
        for _ in range(count):
            pos += 8 + length_at(data, pos)[0]
    except (struct.error, OverflowError):
        # pos lies behind the end, or too close to it for another length.
        pos = max(pos, len(data) + 1)
    if pos > len(data):
        raise TruncatedError(
            f"an array of {count} strings reaches behind the end of the file", offset=start
        )
    return pos


def need(data: Buffer, start: int, n_bytes: int, what: str) -> int:
    """Return ``start + n_bytes``, or raise `TruncatedError` if `data` ends before that."""
    stop = start + n_bytes
    if stop > len(data):
        left = max(len(data) - start, 0)
        raise TruncatedError(f"{what} needs {n_bytes} bytes, {left} remain", offset=start)
    return stop


def value_type_of(type_id: int, offset: int) -> ValueType:
    """Return the value type of a number read at `offset`."""
    try:
        return ValueType(type_id)
    except ValueError:
        raise BadValueError(f"value type {type_id} is unknown (0 to 12)", offset=offset) from None
