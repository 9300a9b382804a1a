"""`Metadata`: the ordered, typed key-value pairs of a GGUF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ggufkit.errors import BadValueError, MissingKeyError, WrongValueTypeError
from ggufkit.gguf import limits
from ggufkit.gguf.keys import KEYS, KeyType, key_type
from ggufkit.gguf.values import ByteOrder, EncodedValue, Value, encode, encode_array
from ggufkit.types import ValueType

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KEYS", "KeyType", "Metadata", "Value", "key_type"]

_T = TypeVar("_T", bool, int, float, str)
_MISSING: Any = object()


class Metadata(MutableMapping[str, Value]):
    """Ordered mapping of keys to typed values.

    ``m[key] = value`` takes the value type from the table of standard keys; any other key needs
    `set` with a type. Setting a key again keeps its position. Values are encoded when set, so
    that reading returns what a file will hold (float32 is rounded), and decoded when first read.
    Do not change a list that was read: set the key again.

    Parameters
    ----------
    values : Mapping, optional
        Standard keys to start with.

    Examples
    --------
    >>> m = Metadata({"general.architecture": "llama"})
    >>> m["llama.block_count"] = 22
    >>> m.set("ggufkit.note", ["a", "b"], ValueType.STRING)
    >>> m.type_of("llama.block_count").name, m.item_type_of("ggufkit.note").name
    ('UINT32', 'STRING')
    """

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._entries: dict[str, EncodedValue] = {}
        self._decoded: dict[str, Value] = {}
        self._errors = "strict"
        if values is not None:
            self.update(values)

    @classmethod
    def from_entries(cls, entries: dict[str, EncodedValue], *, errors: str = "strict") -> Metadata:
        """Wrap encoded values; `errors` as in `bytes.decode`, for strings that are not UTF-8."""
        metadata = cls()
        metadata._entries = entries
        metadata._errors = errors
        return metadata

    def __getitem__(self, key: str) -> Value:
        """Return the value of `key`; arrays are lists.

        Raises
        ------
        MissingKeyError
            The key is absent.
        """
        if key not in self._decoded:
            self._decoded[key] = self._entry(key).decode(self._errors)
        return self._decoded[key]

    def __setitem__(self, key: str, value: Value) -> None:
        """Set a standard key.

        Raises
        ------
        WrongValueTypeError
            The value does not fit the key's type, or the key is not a standard one.
        """
        expected = key_type(key)
        if expected is None:
            raise WrongValueTypeError(
                f"{key!r} is not a standard key: give its type with set(key, value, ValueType.X)"
            )
        is_array = _is_array(value)
        wanted = expected.items if is_array else expected.scalar
        if wanted is None:
            raise WrongValueTypeError(
                f"{key!r} holds {'one value' if is_array else 'an array'}, "
                f"not {type(value).__name__}"
            )
        self.set(key, value, wanted)

    def __delitem__(self, key: str) -> None:
        self._entry(key)
        del self._entries[key]
        self._decoded.pop(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __repr__(self) -> str:
        return f"<Metadata of {len(self)} keys>"

    def set(
        self,
        key: str,
        value: Value | bytes | Sequence[bytes] | NDArray[Any],
        value_type: ValueType,
    ) -> None:
        """Set any key; a sequence or ndarray becomes an array of items of `value_type`.

        Raises
        ------
        WrongValueTypeError
            The value or an item does not fit `value_type`.
        BadValueError
            The key itself is not allowed.
        """
        check_key(key)
        try:
            if _is_array(value):
                data, stored = encode_array(value, value_type), ValueType.ARRAY
            else:
                data, stored = encode(value, value_type), value_type
        except WrongValueTypeError as error:
            raise WrongValueTypeError(f"{key!r}: {error}") from None
        self._entries[key] = EncodedValue(stored, data, 0, len(data))
        self._decoded.pop(key, None)

    def extend(self, other: Metadata) -> None:
        """Set every key of `other`, with its type."""
        for key in other:
            self._entries[key] = other._entry(key)
            self._decoded.pop(key, None)

    def copy(self) -> Metadata:
        """Return a copy that shares no state; the values themselves are not copied."""
        return Metadata.from_entries(dict(self._entries), errors=self._errors)

    def type_of(self, key: str) -> ValueType:
        """Return the value type of `key`: ARRAY for arrays."""
        return self._entry(key).type

    def item_type_of(self, key: str) -> ValueType:
        """Return the type of an array's items.

        Raises
        ------
        WrongValueTypeError
            The key does not hold an array.
        """
        return self._array_entry(key).item_type

    def n_items_of(self, key: str) -> int:
        """Return the number of an array's items, without decoding them."""
        return self._array_entry(key).n_items

    def first_items_of(self, key: str, n: int) -> list[Value]:
        """Return the first `n` items of an array, or all, without decoding the others."""
        return self._array_entry(key).first_items(n, self._errors)

    def get_str(self, key: str, default: str = _MISSING) -> str:
        """Return a string; raise `WrongValueTypeError` if `key` holds anything else."""
        return self._get(key, str, default)

    def get_int(self, key: str, default: int = _MISSING) -> int:
        """Return an integer; raise `WrongValueTypeError` if `key` holds anything else."""
        return self._get(key, int, default)

    def get_float(self, key: str, default: float = _MISSING) -> float:
        """Return a float; raise `WrongValueTypeError` if `key` holds anything else."""
        return self._get(key, float, default)

    def get_bool(self, key: str, default: bool = _MISSING) -> bool:
        """Return a bool; raise `WrongValueTypeError` if `key` holds anything else."""
        return self._get(key, bool, default)

    def get_list(self, key: str, item_type: ValueType, default: list[Any] = _MISSING) -> list[Any]:
        """Return an array of `item_type`; raise `WrongValueTypeError` for anything else."""
        if key not in self and default is not _MISSING:
            return default
        found = self.item_type_of(key)
        if found is not item_type:
            raise WrongValueTypeError(
                f"{key!r} holds an array of {found.name}, not of {item_type.name}"
            )
        value = self[key]
        return value if isinstance(value, list) else []

    def encoded(self, order: ByteOrder = "<") -> bytes:
        """Return all pairs as a file of this byte order holds them, after its first 24 bytes."""
        parts = []
        for key, entry in self._entries.items():
            raw = key.encode("utf-8", "surrogateescape")
            parts += [struct.pack(f"{order}Q", len(raw)), raw, struct.pack(f"{order}I", entry.type)]
            parts.append(entry.encoded(order))
        return b"".join(parts)

    def _entry(self, key: str) -> EncodedValue:
        try:
            return self._entries[key]
        except KeyError:
            raise MissingKeyError(f"the metadata has no key {key!r}") from None

    def _array_entry(self, key: str) -> EncodedValue:
        entry = self._entry(key)
        if entry.type is not ValueType.ARRAY:
            raise WrongValueTypeError(f"{key!r} holds one {entry.type.name}, not an array")
        return entry

    def _get(self, key: str, kind: type[_T], default: _T) -> _T:
        if key not in self and default is not _MISSING:
            return default
        value = self[key]
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        raise WrongValueTypeError(
            f"{key!r} holds {self.type_of(key).name}, expected {kind.__name__}"
        )


def check_key(key: str) -> None:
    """Check that a key is 1 to 65535 bytes of UTF-8 without NUL.

    Raises
    ------
    BadValueError
        It is not.
    """
    size = len(key.encode("utf-8", "surrogateescape"))
    if not key or size > limits.MAX_KEY_BYTES or "\0" in key:
        raise BadValueError(
            f"key {key[:40]!r} has {size} bytes, expected 1..{limits.MAX_KEY_BYTES} without NUL"
        )


def _is_array(value: object) -> bool:
    """Whether a value is stored as an array: any sequence except str, any ndarray except 0-d."""
    if hasattr(value, "ndim"):
        return bool(value.ndim)
    return isinstance(value, Sequence) and not isinstance(value, str)
