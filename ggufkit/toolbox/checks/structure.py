"""Rules about the file itself: its header, where data lies, its padding, its parts."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ggufkit.errors import named
from ggufkit.gguf import limits
from ggufkit.gguf.layout import DEFAULT_ALIGNMENT, align
from ggufkit.gguf.values import EncodedValue
from ggufkit.rules.rule import Check, CheckRule, Fix, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.toolbox.checks.survey import LenientHeader
from ggufkit.toolbox.surplus import describe_surplus
from ggufkit.types import ValueType

_MOST_KEYS = 20
_REWRITE = Fix("rewrite the file", rewrite=True)


def _problems(rule: str) -> Check:
    """Return the check that reports what the survey has listed for a rule."""

    def check(subject: CheckedModel) -> Iterator[RawFinding]:
        for part in subject.parts:
            messages = [message for found, message in part.problems if found == rule]
            if messages:
                more = f" ({len(messages) - 1} more)" if len(messages) > 1 else ""
                yield RawFinding(messages[0] + more, part.path)

    return check


def old_version(subject: CheckedModel) -> Iterator[RawFinding]:
    """Version 2 is read everywhere."""
    for part in subject.parts:
        if part.version == 2:
            yield RawFinding("GGUF version 2: programs read it, but write version 3", part.path)


def big_endian(subject: CheckedModel) -> Iterator[RawFinding]:
    """A byte order that ordinary machines can't load."""
    for part in subject.parts:
        if part.order == ">":
            yield RawFinding(
                "a big-endian file: ordinary machines can't load it; turn it with "
                f"'{_turn(part.path)}'",
                part.path,
            )


def _turn(path: Path) -> str:
    out = path.with_name(f"{path.stem}-little.gguf")
    return f"ggufkit convert-endian {shlex.quote(str(path))} {shlex.quote(str(out))} little"


def truncated(subject: CheckedModel) -> Iterator[RawFinding]:
    """The file ends before what its header promises."""
    yield from _problems("truncated")(subject)
    for part in subject.parts:
        cut = [i for i in part.infos if i.type.is_known and not part.is_whole(i)]
        if cut:
            need = max(part.start_of(info) + info.nbytes for info in cut)
            yield RawFinding(
                f"{need - part.file_size} bytes are missing at the end: the data of "
                f"{named([info.name for info in cut])}; download or copy it again",
                part.path,
            )


def _places(rule: str) -> Check:
    def check(subject: CheckedModel) -> Iterator[RawFinding]:
        for part in subject.parts:
            found = [message for kind, message in part.places if kind == rule]
            if found:
                more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
                yield RawFinding(
                    f"{found[0]}{more}: llama.cpp refuses the file; convert or merge it again",
                    part.path,
                )

    return check


def _intact(part: LenientHeader) -> bool:
    """Whether all tensors are where they should be."""
    return part.complete and bool(part.infos) and not part.places


def _end(part: LenientHeader) -> int:
    """Return the byte behind the last tensor's data."""
    return part.start_of(part.infos[-1]) + part.infos[-1].nbytes


def trailing_bytes(subject: CheckedModel) -> Iterator[RawFinding]:
    """Bytes that belong to no tensor; only zeros may be thrown away."""
    for part in subject.parts:
        if not part.complete or part.places or any(not i.type.is_known for i in part.infos[-1:]):
            continue
        end = _end(part) if part.infos else part.data_offset
        padded = align(end, part.alignment)
        kept = describe_surplus(part.path, end, padded) if part.file_size > end else None
        if kept is not None:
            yield RawFinding(kept, part.path)
        elif part.file_size > padded:
            yield RawFinding(
                f"{part.file_size - padded} bytes follow the last tensor, all zero: nothing reads "
                "them",
                part.path,
                _REWRITE,
            )


def missing_padding(subject: CheckedModel) -> Iterator[RawFinding]:
    """The last tensor is not padded."""
    for part in subject.parts:
        if _intact(part) and part.infos[-1].type.is_known:
            lacking = align(_end(part), part.alignment) - part.file_size
            if lacking > 0 and part.is_whole(part.infos[-1]):
                yield RawFinding(
                    f"{lacking} bytes of padding are missing behind the last tensor: llama.cpp's "
                    "loader does not need them, but tools that read all data do",
                    part.path,
                    _REWRITE,
                )


def dirty_padding(subject: CheckedModel) -> Iterator[RawFinding]:
    """Padding other than zeros."""
    for part in subject.parts:
        if not _intact(part):
            continue
        dirty = {}
        for info in part.infos:
            start = part.start_of(info) + info.nbytes
            stop = max(start, min(align(start, part.alignment), part.file_size))
            if any(found := part.read(start, stop - start) if start < stop else b""):
                dirty[info.name] = found
        if dirty:
            # a fix clears them, so they are shown; more than that may be somebody's data
            short = max(map(len, dirty.values())) <= DEFAULT_ALIGNMENT
            first = next(iter(dirty.values()))[:DEFAULT_ALIGNMENT].hex()
            yield RawFinding(
                f"padding behind {named(list(dirty))} is not zero: {first}",
                part.path,
                _REWRITE if short else None,
            )


def _values(
    test: Callable[[EncodedValue, LenientHeader], bool],
    message: str,
    advice: Callable[[Path, Sequence[str]], str],
) -> Check:
    """Return the check that reports keys whose encoded value passes a test."""

    def check(subject: CheckedModel) -> Iterator[RawFinding]:
        for part in subject.parts:
            keys = [key for key, entry in part.entries.items() if test(entry, part)]
            if keys:
                command = advice(part.path, keys)
                yield RawFinding(f"{named(keys)}: {message}; {command}", part.path)

    return check


def _delete(path: Path, keys: Sequence[str]) -> str:
    """Return the advice to delete keys, if they can be typed."""
    if not all(key.isprintable() for key in keys):
        return "convert the model again"
    words = " ".join(f"--delete {shlex.quote(key)}" for key in keys[:_MOST_KEYS])
    return f"'ggufkit edit {shlex.quote(str(path))} --lenient {words}' deletes them"


def _set_true(path: Path, keys: Sequence[str]) -> str:
    """Return the advice to make bools true, as C takes any value that is not 0."""
    words = " ".join(f"--set {shlex.quote(f'{key}:bool=true')}" for key in keys[:_MOST_KEYS])
    return f"'ggufkit edit {shlex.quote(str(path))} {words}' makes them true, as they are read"


def _is_nested(entry: EncodedValue, part: LenientHeader) -> bool:
    del part
    return entry.type is ValueType.ARRAY and entry.item_type is ValueType.ARRAY


def _is_odd_bool(entry: EncodedValue, part: LenientHeader) -> bool:
    del part
    return entry.type is ValueType.BOOL and entry.data[entry.start] > 1


def _is_not_utf8(entry: EncodedValue, part: LenientHeader) -> bool:
    """Whether a string, or one of an array, is not UTF-8; strings are joined to decode at once."""
    if entry.type is ValueType.STRING:
        return not _decodes(bytes(entry.data[entry.start + 8 : entry.stop]))
    if entry.type is not ValueType.ARRAY or entry.item_type is not ValueType.STRING:
        return False
    at, length_at = entry.start + 12, struct.Struct(f"{part.order}Q").unpack_from
    for _ in range(entry.n_items):
        stop = at + 8 + length_at(entry.data, at)[0]
        if not _decodes(bytes(entry.data[at + 8 : stop])):
            return True
        at = stop
    return False


def _decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def odd_key(subject: CheckedModel) -> Iterator[RawFinding]:
    """Keys outside the specification's grammar."""
    for part in subject.parts:
        odd = [key for key in part.entries if not _is_snake(key)]
        if odd:
            yield RawFinding(
                f"{named(odd)}: expected lower_snake_case parts joined by dots", part.path
            )


def _is_snake(key: str) -> bool:
    plain = key.replace(".", "").replace("_", "").replace("-", "")
    return plain.isascii() and plain.isalnum() and plain == plain.lower()


def no_tensors(subject: CheckedModel) -> Iterator[RawFinding]:
    """A vocabulary alone."""
    if subject.readable and not any(part.infos for part in subject.parts):
        yield RawFinding("no tensors: metadata or a vocabulary alone")


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule("not-gguf", _E, "not a GGUF file, or an unsupported version", _problems("not-gguf")),
    CheckRule("old-version", _N, "GGUF version 2", old_version),
    CheckRule("big-endian", _E, "a big-endian file", big_endian),
    CheckRule("truncated", _E, "the file ends too early", truncated),
    CheckRule(
        "unreadable-header",
        _E,
        "a header value is invalid",
        _problems("unreadable-header"),
    ),
    CheckRule("bad-key", _E, "a key is empty, too long, or holds a NUL", _problems("bad-key")),
    CheckRule("odd-key", _N, "a key is not lower_snake_case", odd_key),
    CheckRule("duplicate-key", _E, "a key appears twice", _problems("duplicate-key")),
    CheckRule(
        "duplicate-tensor", _E, "two tensors have the same name", _problems("duplicate-tensor")
    ),
    CheckRule(
        "bad-tensor-name",
        _E,
        f"a tensor's name is empty, above {limits.MAX_NAME_BYTES} bytes, or holds a NUL",
        _problems("bad-tensor-name"),
    ),
    CheckRule(
        "bad-shape", _E, "a shape is invalid, or rows are not whole blocks", _problems("bad-shape")
    ),
    CheckRule(
        "unknown-tensor-type",
        _E,
        "a tensor type that ggml does not have",
        _problems("unknown-tensor-type"),
    ),
    CheckRule(
        "bad-alignment",
        _E,
        "general.alignment is not a usable power of two",
        _problems("bad-alignment"),
    ),
    CheckRule("unaligned-data", _E, "a tensor's data is not aligned", _places("unaligned-data")),
    CheckRule("overlapping-data", _E, "tensors share bytes", _places("overlapping-data")),
    CheckRule("hole-in-data", _E, "bytes between tensors", _places("hole-in-data")),
    CheckRule("tensor-order", _E, "data is not in the tensors' order", _places("tensor-order")),
    CheckRule("trailing-bytes", _W, "bytes behind the last tensor", trailing_bytes, fixable=True),
    CheckRule("missing-padding", _W, "no padding at the end", missing_padding, fixable=True),
    CheckRule("dirty-padding", _W, "padding that is not zero", dirty_padding, fixable=True),
    CheckRule(
        "nested-array",
        _E,
        "an array of arrays",
        _values(_is_nested, "arrays of arrays, which llama.cpp refuses", _delete),
    ),
    CheckRule(
        "odd-bool",
        _W,
        "a bool that is neither 0 nor 1",
        _values(_is_odd_bool, "expected 0 or 1", _set_true),
    ),
    CheckRule(
        "not-utf8",
        _W,
        "text that is not UTF-8",
        _values(_is_not_utf8, "text that is not UTF-8, which many readers refuse", _delete),
    ),
    CheckRule("no-tensors", _N, "no tensors", no_tensors),
)
