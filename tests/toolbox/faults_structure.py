"""Faults of the file itself and of splits."""

from __future__ import annotations

import struct

from tests import build
from tests.build import ARR, BOOL, I32, STR, U8, U16, U32, U64
from tests.toolbox.faults import (
    EMBEDDING,
    F32_TYPE,
    FFN,
    Model,
    fault,
    quantize,
    tokens_of,
    types_of,
    weights,
)


@fault("truncated")
def empty_file(model: Model) -> bytes:
    return b""


@fault("not-gguf")
def other_magic(model: Model) -> bytes:
    return b"GGML" + model.build()[4:]


@fault("not-gguf")
def version_1(model: Model) -> bytes:
    return b"GGUF\x01" + model.build()[5:]


@fault("old-version")
def version_2(model: Model) -> None:
    model.version = 2


@fault("big-endian")
def big_endian(model: Model) -> bytes:
    other = Model(order=">", tensors=model.tensors)
    for key, (type_id, value) in model.pairs.items():
        if type_id != ARR:
            other.pairs[key] = (type_id, value)
    other.array("tokenizer.ggml.tokens", STR, tokens_of("llama"))
    other.array("tokenizer.ggml.token_type", I32, types_of("llama"))
    return other.build()


@fault("truncated")
def cut_data(model: Model) -> bytes:
    return model.build()[:-100]


@fault("truncated")
def cut_by_a_byte(model: Model) -> bytes:
    return model.build()[:-1]


@fault("truncated")
def cut_in_half(model: Model) -> bytes:
    raw = model.build()
    return raw[: len(raw) // 2]


@fault("truncated")
def cut_header(model: Model) -> bytes:
    return model.build()[:500]


@fault("truncated")
def too_many_keys_promised(model: Model) -> bytes:
    raw = model.build()
    return raw[:16] + struct.pack("<Q", 2**62) + raw[24:]


@fault("unreadable-header")
def unknown_value_type(model: Model) -> bytes:
    return build.file([build.string("general.name") + struct.pack("<I", 13) + bytes(64)])


@fault("unreadable-header")
def five_dimensions(model: Model) -> None:
    model.tensors["extra.weight"] = ([1, 1, 1, 1, 1], F32_TYPE, bytes(4))


@fault("bad-key", also=("odd-key",))
def empty_key(model: Model) -> None:
    model.pairs[""] = (U8, 1)


@fault("odd-key")
def key_with_capitals(model: Model) -> None:
    model.pairs["My Note"] = (STR, "x")


@fault("duplicate-key")
def duplicate_key(model: Model) -> bytes:
    pairs = [build.pair(k, t, value) for k, (t, value) in model.pairs.items()]
    infos, offset, data = [], 0, b""
    for name, (ne, type_id, raw) in model.tensors.items():
        infos.append(build.tensor(name, ne, type_id, offset))
        data += raw
        offset = len(data)
    return build.file([*pairs, build.pair("general.name", STR, "Other")], infos, data)


@fault("duplicate-tensor")
def duplicate_tensor(model: Model) -> bytes:
    model.tensors["output_norm.weighT"] = weights(EMBEDDING, seed=8)
    return model.build().replace(b"output_norm.weighT", b"output_norm.weight")


@fault("bad-tensor-name")
def name_of_64_bytes(model: Model) -> None:
    model.tensors["x" * 64] = weights(EMBEDDING)


@fault("bad-shape")
def row_is_no_whole_block(model: Model) -> None:
    model.tensors["extra.weight"] = ([100, 2], 12, bytes(288))  # Q4_K: rows of 256


@fault("unknown-tensor-type")
def type_of_the_future(model: Model) -> None:
    model.tensors["extra.weight"] = ([64], 99, bytes(64))


@fault("unknown-tensor-type")
def removed_type(model: Model) -> None:
    model.tensors["extra.weight"] = ([64], 31, bytes(64))


@fault("bad-alignment")
def alignment_of_24(model: Model) -> None:
    model.pairs["general.alignment"] = (U32, 24)


@fault("bad-alignment")
def alignment_of_wrong_type(model: Model) -> None:
    model.pairs["general.alignment"] = (U64, 32)


@fault("unaligned-data")
def unaligned_data(model: Model) -> None:
    model.moved["output_norm.weight"] = -4


@fault("overlapping-data")
def overlapping_data(model: Model) -> None:
    model.moved["output_norm.weight"] = -64


@fault("hole-in-data")
def hole_in_data(model: Model) -> bytes:
    model.moved["output_norm.weight"] = 64
    return model.build() + bytes(64)


@fault("tensor-order")
def swapped_tensors(model: Model) -> None:
    size = 4 * EMBEDDING * FFN
    model.moved |= {"blk.0.ffn_gate.weight": size, "blk.0.ffn_up.weight": -size}


@fault("trailing-bytes")
def trailing_bytes(model: Model) -> bytes:
    return model.build() + bytes(80)


def padded_at_the_end(model: Model) -> None:
    """Put a tensor of 20400 bytes last: 16 bytes of padding follow it."""
    quantize(model, "token_embd.weight")
    model.tensors["token_embd.weight"] = model.tensors.pop("token_embd.weight")


@fault("missing-padding")
def missing_padding(model: Model) -> bytes:
    padded_at_the_end(model)
    return model.build()[:-10]


@fault("dirty-padding")
def dirty_padding(model: Model) -> bytes:
    padded_at_the_end(model)
    return model.build()[:-1] + b"\x01"


@fault("nested-array")
def nested_array(model: Model) -> None:
    model.pairs["x.nested"] = (ARR, build.array(ARR, [build.array(U8, [1, 2])]))


@fault("odd-bool")
def bool_of_7(model: Model) -> None:
    model.pairs["x.flag"] = (BOOL, 7)


@fault("not-utf8")
def latin_1_author(model: Model) -> None:
    model.pairs["general.author"] = (STR, "Jörg".encode("latin-1"))


@fault("no-tensors")
def vocabulary_alone(model: Model) -> None:
    model.tensors.clear()


def parts_of(model: Model, count: int = 2) -> list[Model]:
    names = list(model.tensors)
    parts = []
    for i in range(count):
        part = Model(pairs=dict(model.pairs) if i == 0 else {})
        part.name = f"Tiny-74K-Instruct-v1.0-F32-{i + 1:05d}-of-{count:05d}.gguf"
        part.pairs["split.no"] = (U16, i)
        part.pairs["split.count"] = (U16, count)
        part.pairs["split.tensors.count"] = (I32, len(names))
        part.tensors = {n: model.tensors[n] for n in names[i::count]}
        parts.append(part)
    return parts


def split_files(parts: list[Model]) -> dict[str, bytes]:
    return {part.name: part.build() for part in parts}


@fault("missing-part")
def missing_part(model: Model) -> dict[str, bytes]:
    return split_files(parts_of(model, 3)[:2])


@fault("part-name")
def renamed_part(model: Model) -> dict[str, bytes]:
    first = parts_of(model)[0]
    model.pairs |= {key: v for key, v in first.pairs.items() if key.startswith("split.")}
    return {model.name: model.build()}


@fault("part-name")
def named_as_part(model: Model) -> dict[str, bytes]:
    return {"Tiny-74K-Instruct-v1.0-F32-00001-of-00002.gguf": model.build()}


@fault("split-keys")
def swapped_parts(model: Model) -> dict[str, bytes]:
    first, second, third = parts_of(model, 3)
    second.name, third.name = third.name, second.name
    return split_files([first, second, third])


@fault("split-keys")
def split_key_of_wrong_type(model: Model) -> dict[str, bytes]:
    parts = parts_of(model)
    parts[1].pairs["split.no"] = (U32, 1)
    return split_files(parts)


@fault("split-keys")
def wrong_total(model: Model) -> dict[str, bytes]:
    parts = parts_of(model)
    for part in parts:
        part.pairs["split.tensors.count"] = (I32, 5)
    return split_files(parts)


@fault("tensor-in-two-parts", also=("split-keys",))
def tensor_in_two_parts(model: Model) -> dict[str, bytes]:
    parts = parts_of(model)
    parts[1].tensors["token_embd.weight"] = parts[0].tensors["token_embd.weight"]
    return split_files(parts)
