"""`HeaderWalker`: walking over a header whose lengths nobody vouches for.

Every length and count is compared with the file's size before anything is read or allocated, and
each byte is walked over once. The bytes may still be on their way: a subclass overrides `fetch`
and brings more of the file whenever the walk gets ahead of the bytes that are loaded.
"""

from __future__ import annotations

import struct

from ggufkit.errors import BadValueError, LimitExceededError, TruncatedError
from ggufkit.gguf import limits
from ggufkit.gguf.values import ARRAY_HEAD, CODES, Buffer, ByteOrder, decode_string, size_of
from ggufkit.types import ValueType

#: Share of an array that its first strings suggest: the others may be shorter.
CAUTION = 0.97


class HeaderWalker:
    """A position in a header, and how to get on from there.

    Attributes
    ----------
    data : buffer
        The file's bytes, or the first of them.
    order : {'<', '>'}
        Byte order.
    size : int
        Bytes of the file.
    pos : int
        The byte that is read next.
    likely_end : int
        Up to where `fetch` may read ahead: what the walk has seen suggests that so much is needed.
    """

    def __init__(
        self, data: Buffer, order: ByteOrder = "<", *, errors: str = "strict", size: int = -1
    ) -> None:
        self.data = data
        self.order: ByteOrder = order
        self.errors = errors
        self.size = len(data) if size < 0 else size
        self.pos = self.likely_end = 0

    def fetch(self, stop: int) -> None:
        """Make `data` reach to `stop`, a byte within the file that it does not reach yet."""
        raise NotImplementedError

    def need(self, start: int, n_bytes: int, what: str) -> int:
        """Return ``start + n_bytes``, a byte that `data` reaches.

        Raises
        ------
        TruncatedError
            The file ends before it.
        """
        stop = start + n_bytes
        if stop > self.size:
            left = max(self.size - start, 0)
            raise TruncatedError(f"{what} needs {n_bytes} bytes, {left} remain", offset=start)
        if stop > len(self.data):
            self.fetch(stop)
        return stop

    def u32(self, what: str) -> int:
        """Read a uint32."""
        start = self.pos
        self.pos = self.need(start, 4, what)
        return int(struct.unpack_from(f"{self.order}I", self.data, start)[0])

    def u64(self, what: str) -> int:
        """Read a uint64."""
        start = self.pos
        self.pos = self.need(start, 8, what)
        return int(struct.unpack_from(f"{self.order}Q", self.data, start)[0])

    def string(self, what: str) -> str:
        """Read a string."""
        start = self.pos
        self.pos = self.measure(start, ValueType.STRING)
        try:
            return decode_string(self.data, start + 8, self.pos, self.errors)
        except BadValueError as error:
            raise BadValueError(f"{what}: {error.what}", offset=error.offset) from None

    def count(self, what: str, least_bytes: int) -> int:
        """Read a count of things that take at least so many bytes each."""
        start = self.pos
        count = self.u64(f"the number of {what}")
        if count * least_bytes > self.size - start:
            raise TruncatedError(
                f"{count} {what} promised, more than a file of {self.size} bytes can hold",
                offset=start,
            )
        return count

    def measure(self, start: int, value_type: ValueType, *, nested: bool = False) -> int:
        """Return the byte behind a value, having checked every length in it.

        Allocates nothing, whatever the value claims to hold, and takes constant time for arrays
        of fixed-size items.

        Parameters
        ----------
        nested : bool
            Allow arrays of arrays, to a depth of `limits.MAX_NESTING`.

        Raises
        ------
        TruncatedError
            The value reaches behind the file's end.
        BadValueError, LimitExceededError
            An unknown item type, a nested array, or a length above a limit.
        """
        if value_type is ValueType.STRING:
            self.need(start, 8, "a string's length")
            (length,) = struct.unpack_from(f"{self.order}Q", self.data, start)
            if length > limits.MAX_STRING_BYTES:
                raise LimitExceededError(
                    f"a string of {length} bytes; the limit is {limits.MAX_STRING_BYTES}",
                    offset=start,
                )
            return self.need(start + 8, length, "a string")
        if value_type is ValueType.ARRAY:
            return self._measure_array(start, limits.MAX_NESTING if nested else 0)
        return self.need(start, size_of(value_type), f"a {value_type.name}")

    def _measure_array(self, start: int, depth_left: int) -> int:
        pos = self.need(start, ARRAY_HEAD, "an array's type and count")
        type_id, count = struct.unpack_from(f"{self.order}IQ", self.data, start)
        item_type = value_type_of(type_id, start)
        if count > limits.MAX_ARRAY_ITEMS:
            raise LimitExceededError(
                f"an array of {count} items; the limit is {limits.MAX_ARRAY_ITEMS}", offset=start
            )
        if item_type in CODES:
            what = f"an array of {count} {item_type.name}"
            return self.need(pos, count * size_of(item_type), what)
        if item_type is ValueType.STRING:
            self.need(pos, count * 8, f"an array of {count} strings")
            return self._measure_strings(pos, count)
        if not depth_left:
            raise BadValueError(
                "an array of arrays, which llama.cpp rejects: 'ggufkit check FILE' says what to do",
                offset=start,
            )
        if depth_left == 1:
            raise LimitExceededError(
                f"arrays nested deeper than {limits.MAX_NESTING}", offset=start
            )
        self.need(pos, count * ARRAY_HEAD, f"an array of {count} arrays")
        for _ in range(count):
            pos = self._measure_array(pos, depth_left - 1)
        return pos

    def _measure_strings(self, pos: int, count: int) -> int:
        """Walk over the lengths of `count` strings: the one loop that runs per token at open."""
        length_at = struct.Struct(f"{self.order}Q").unpack_from
        start, left = pos, iter(range(count, 0, -1))
        n_left = count
        while n_left:
            try:
                for n_left in left:  # noqa: B007 - read behind the loop
                    pos += 8 + length_at(self.data, pos)[0]
                n_left = 0
            except (struct.error, OverflowError):
                # pos lies behind the loaded bytes, or too close to its end for another length
                per_string = (pos - start) / max(count - n_left, 1)
                self._reach(pos + 8, start, pos + int(CAUTION * n_left * per_string))
                pos += 8 + length_at(self.data, pos)[0]
        self._reach(pos, start)
        return pos

    def _reach(self, stop: int, start: int, likely_end: int = 0) -> None:
        """Let `data` reach to `stop` within an array of strings."""
        if stop > self.size:
            raise TruncatedError(
                "an array of strings reaches behind the end of the file", offset=start
            )
        self.likely_end = likely_end
        self.need(stop, 0, "an array of strings")
        self.likely_end = 0


def value_type_of(type_id: int, offset: int) -> ValueType:
    """Return the value type of a number read at `offset`."""
    try:
        return ValueType(type_id)
    except ValueError:
        raise BadValueError(f"value type {type_id} is unknown (0 to 12)", offset=offset) from None
