"""Mutations that know where a format's fields are, so that they get behind the magic."""

from __future__ import annotations

import copy
import json
import pickletools
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

# Counts, lengths, offsets and types that have broken readers.
NUMBERS = [
    0, 1, 2, 3, 4, 7, 8, 13, 31, 32, 33, 43, 63, 64, 65, 255, 256, 2**15, 2**16 - 1, 2**16,
    2**20, 2**24, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**61, 2**62,
    2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1,
]  # fmt: skip
TEXTS = [
    "",
    "\0",
    "a\0b",
    "../x",
    "/etc/passwd",
    "é" * 40,
    "A" * 70,
    "\ud800",
    "<0x-1>",
    "{{",
    "{%",
]
VALUES = [None, True, False, 0, -1, 1.5, 1e308, -1e-320, 2**31, 2**63, 10**30, [], {}, *TEXTS[:5]]
FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

Field = tuple[int, int]  # offset, bytes
Mutation = Callable[[bytearray, random.Random], None]


def mutate(
    seed: bytes, others: list[bytes], fields: Callable[[bytes], list[Field]], rng: random.Random
) -> bytes:
    """Return a seed after one to three mutations, of fields rather than of arbitrary bytes."""
    data = bytearray(seed)
    places = fields(seed)
    for _ in range(rng.randint(1, 3)):
        roll = rng.random()
        if places and roll < 0.55:
            _set_field(data, rng.choice(places), rng)
        elif roll < 0.7:
            _flip(data, rng)
        elif roll < 0.8:
            _repeat_or_cut(data, rng)
        elif roll < 0.9:
            _splice(data, rng.choice(others), rng)
        else:
            del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def _set_field(data: bytearray, field: Field, rng: random.Random) -> None:
    at, size = field
    if at + size > len(data):
        return
    old = int.from_bytes(data[at : at + size], "little")
    number = rng.choice([*NUMBERS, old + 1, old - 1, old * 2, old ^ (1 << rng.randrange(8 * size))])
    data[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, "little")


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _repeat_or_cut(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 4, 8, 24, 100)))
    part = data[start:end]
    if rng.random() < 0.5:
        data[start:end] = b""
    else:
        data[start:start] = part * rng.choice((1, 2, 50))


def _splice(data: bytearray, other: bytes, rng: random.Random) -> None:
    start, end = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    data[start:] = other[end:]


def no_fields(_: bytes) -> list[Field]:
    """Return nothing: a format whose numbers are everywhere."""
    return []


def gguf_fields(data: bytes) -> list[Field]:
    """Return the lengths, counts, types, dimensions and offsets of a well-formed header."""
    head = [(4, 4), (8, 8), (16, 8)]
    big_endian = int.from_bytes(data[4:8], "little") > 3
    return head if big_endian else [*head, *_walk(data)]


def _walk(data: bytes) -> Iterator[Field]:
    n_tensors, n_pairs = struct.unpack_from("<QQ", data, 8)
    at = 24
    for _ in range(n_pairs):
        yield at, 8
        at += 8 + int.from_bytes(data[at : at + 8], "little")
        yield at, 4
        kind = int.from_bytes(data[at : at + 4], "little")
        found, at = _value(data, at + 4, kind)
        yield from found
    for _ in range(n_tensors):
        yield at, 8
        at += 8 + int.from_bytes(data[at : at + 8], "little")
        yield at, 4
        n_dims = int.from_bytes(data[at : at + 4], "little")
        at += 4
        yield from ((at + 8 * i, 8) for i in range(n_dims))
        at += 8 * n_dims
        yield at, 4
        yield at + 4, 8
        at += 12


def _value(data: bytes, at: int, kind: int) -> tuple[list[Field], int]:
    """Return the fields of a value, and where it ends."""
    if kind in FIXED:
        return [(at, FIXED[kind])], at + FIXED[kind]
    if kind == 8:
        return [(at, 8)], at + 8 + int.from_bytes(data[at : at + 8], "little")
    item, count = struct.unpack_from("<IQ", data, at)
    fields, end = [(at, 4), (at + 4, 8)], at + 12
    for _ in range(count):
        found, end = _value(data, end, item)
        fields += found if len(fields) < 40 else []
    return fields, end


def imatrix_fields(data: bytes) -> list[Field]:
    """Return every aligned word: the legacy format is little else than lengths."""
    return [(at, 4) for at in range(0, len(data) - 3, 4)]


def pickle_fields(data: bytes) -> list[Field]:
    """Return the bytes of a pickle's opcodes and arguments, wherever it lies in an archive."""
    start = data.find(b"\x80\x02")
    try:
        places = [start + at for _, _, at in pickletools.genops(data[start:]) if at is not None]
    except (ValueError, IndexError):
        return []
    return [(at + i, 1) for at in places for i in (0, 1)]


def mutate_json(seed: bytes, rng: random.Random) -> bytes:
    """Return a JSON document with one to three values, keys or branches changed."""
    document = json.loads(seed)
    for _ in range(rng.randint(1, 3)):
        nodes = [*_nodes(document)]
        if not nodes:
            break
        holder, key = rng.choice(nodes)
        _change(holder, key, [holder for holder, _ in nodes], rng)
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        text = text[: rng.randrange(len(text) + 1)]
    return text


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 20)):
            yield value, key
            yield from _nodes(value[key])


def _change(holder: Any, key: Any, holders: list[Any], rng: random.Random) -> None:
    roll = rng.random()
    if roll < 0.15:
        del holder[key]
    elif roll < 0.25 and isinstance(holder, dict):
        holder[rng.choice(TEXTS)] = holder.pop(key)
    elif roll < 0.35:
        holder[key] = copy.deepcopy(rng.choice(holders))
    elif roll < 0.42:
        deep: Any = holder[key]
        for _ in range(rng.choice((1, 5, 300))):
            deep = [deep]
        holder[key] = deep
    elif isinstance(holder[key], int) and rng.random() < 0.6:
        holder[key] = rng.choice([*NUMBERS, -1, -(2**63), holder[key] + 1, holder[key] - 1])
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))


def mutate_safetensors(seed: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with another header, whose length is right most of the time."""
    n = int.from_bytes(seed[:8], "little")
    header = mutate_json(seed[8 : 8 + n], rng)
    length = len(header) if rng.random() < 0.85 else rng.choice(NUMBERS)
    data = seed[8 + n :]
    if rng.random() < 0.15:
        data = data[: rng.randrange(len(data) + 1)] + bytes(rng.choice((0, 1, 100)))
    return (length % 2**64).to_bytes(8, "little") + header + data
