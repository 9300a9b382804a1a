"""GGUF bytes by `struct` alone, right or wrong on purpose, independent of ggufkit."""

from __future__ import annotations

import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"}
CODES |= {U64: "Q", I64: "q", F64: "d"}


def string(text, order="<"):
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(f"{order}Q", len(raw)) + raw


def value(type_id, content, order="<"):
    if type_id == STR:
        return string(content, order)
    return struct.pack(order + CODES[type_id], content)


def array(item_type, items, order="<", count=None):
    """An array's bytes behind its type id; items of an array of arrays are such bytes."""
    head = struct.pack(f"{order}IQ", item_type, len(items) if count is None else count)
    if item_type == ARR:
        return head + b"".join(items)
    return head + b"".join(value(item_type, item, order) for item in items)


def pair(key, type_id, content, order="<"):
    """A key-value pair; `content` is bytes if `type_id` is ARR (see `array`)."""
    body = content if type_id == ARR else value(type_id, content, order)
    return string(key, order) + struct.pack(f"{order}I", type_id) + body


def tensor(name, ne, type_id, offset, order="<"):
    """A tensor info; `ne` in ggml's order."""
    dims = b"".join(struct.pack(f"{order}Q", dim & (2**64 - 1)) for dim in ne)
    tail = struct.pack(f"{order}IQ", type_id & 0xFFFFFFFF, offset & (2**64 - 1))
    return string(name, order) + struct.pack(f"{order}I", len(ne)) + dims + tail


def file(
    pairs=(), tensors=(), data=b"", *,
    magic=b"GGUF", version=3, n_tensors=None, n_pairs=None, alignment=32, order="<",
):  # fmt: skip
    n_tensors = len(tensors) if n_tensors is None else n_tensors
    n_pairs = len(pairs) if n_pairs is None else n_pairs
    head = magic + struct.pack(f"{order}IQQ", version, n_tensors, n_pairs)
    head += b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def small(order="<", version=3):
    """A file with every value type and 6 tensors, among them a scalar and an empty one."""
    pairs = [
        pair("general.architecture", STR, "llama", order),
        pair("x.u8", U8, 200, order),
        pair("x.i16", I16, -2, order),
        pair("x.u32", U32, 2**32 - 1, order),
        pair("x.f32", F32, 0.5, order),
        pair("x.bool", BOOL, 1, order),
        pair("x.i64", I64, -(2**63), order),
        pair("x.f64", F64, 0.1, order),
        pair("tokenizer.ggml.tokens", ARR, array(STR, ["<s>", "é", ""], order), order),
        pair("tokenizer.ggml.scores", ARR, array(F32, [0.0, -1.5], order), order),
    ]
    tensors = [
        tensor("a.weight", [64, 2], 0, 0, order),  # F32: 512 bytes
        tensor("b.weight", [32, 2], 8, 512, order),  # Q8_0: 68 -> 96
        tensor("scalar", [], 0, 608, order),  # 4 -> 32
        tensor("empty", [32, 0], 8, 640, order),  # 0
        tensor("c.weight", [3, 2, 2], 1, 640, order),  # F16: 24 -> 32
        tensor("d.weight", [256], 12, 672, order),  # Q4_K: 144 -> 160
    ]
    data = bytes(range(256)) * 2 + b"\x11" * 68 + bytes(28) + b"\x22" * 4 + bytes(28)
    data += b"\x33" * 24 + bytes(8) + b"\x44" * 144 + bytes(16)
    return file(pairs, tensors, data, version=version, order=order)
