"""``tokenizer.model``, SentencePiece's protobuf file, read without the sentencepiece library.

The library can end the process on a hostile file, and only a list of pieces is needed::

    ModelProto:     1 pieces (repeated)   2 trainer_spec   3 normalizer_spec
    SentencePiece:  1 piece: string       2 score: float   3 type: enum
    TrainerSpec:    3 model_type: enum
    NormalizerSpec: 2 precompiled_charsmap: bytes   3 add_dummy_prefix: bool
                    4 remove_extra_whitespaces: bool

A field is a varint ``number << 3 | wire type``, then its value: a varint (0), 8 bytes (1), a
varint length and as many bytes (2) or 4 bytes (5). Absent fields have the defaults below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from ggufkit.errors import CheckpointError
from ggufkit.io.file_kinds import mistaken_for

MAX_PIECES = 2_000_000
MAX_PIECE_BYTES = 64 << 10


class ModelType(IntEnum):
    """How SentencePiece splits text (``TrainerSpec.ModelType``)."""

    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


class TokenType(IntEnum):
    """The type of a token, numbered as in SentencePiece and ``tokenizer.ggml.token_type``."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


TOKEN_TYPES = frozenset(map(int, TokenType))

_FLOAT = struct.Struct("<f")


@dataclass
class SentencePieceModel:
    """The parts of a SentencePiece model that a GGUF file stores."""

    pieces: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    model_type: int = ModelType.UNIGRAM
    precompiled_charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True


def parse_model(data: bytes, where: str) -> SentencePieceModel:
    """Return the model in the bytes of a ``tokenizer.model``; `where` names it in errors.

    Raises
    ------
    CheckpointError
        The bytes are not a SentencePiece model, or exceed a limit.
    """
    if found := mistaken_for(data):
        raise CheckpointError(f"{where}: not a SentencePiece model: it is {found}")
    model = SentencePieceModel()
    try:
        for number, value in _fields(data, 0, len(data)):
            if number == 1:
                _add_piece(model, data, _span(value))
            elif number == 2:
                for n, v in _fields(data, *_span(value)):
                    if n == 3 and isinstance(v, int):
                        model.model_type = v
            elif number == 3:
                _read_normalizer(model, data, _span(value))
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{where}: not a SentencePiece model: {error}") from error
    if not model.pieces:
        raise CheckpointError(f"{where}: not a SentencePiece model: it has no pieces")
    return model


def encode_model(model: SentencePieceModel) -> bytes:
    """Return the bytes of a ``tokenizer.model``, the inverse of `parse_model`.

    With byte pieces, the model has byte fallback.
    """
    out = bytearray()
    for text, score, kind in zip(model.pieces, model.scores, model.types, strict=True):
        piece = _bytes_field(1, text.encode()) + b"\x15" + _FLOAT.pack(score)
        out += _bytes_field(1, piece + _number_field(3, int(kind)))
    fallback = int(TokenType.BYTE in model.types)
    trainer = [(3, model.model_type), (4, len(model.pieces)), (35, fallback)]
    unknown = model.types.index(TokenType.UNKNOWN) if TokenType.UNKNOWN in model.types else None
    if unknown is not None:
        trainer.append((40, unknown))
    out += _bytes_field(2, b"".join(_number_field(*pair) for pair in trainer))
    normalizer = _bytes_field(1, b"nmt_nfkc" if model.precompiled_charsmap else b"identity")
    if model.precompiled_charsmap:
        normalizer += _bytes_field(2, model.precompiled_charsmap)
    normalizer += _number_field(3, int(model.add_dummy_prefix))
    normalizer += _number_field(4, int(model.remove_extra_whitespaces))
    out += _bytes_field(3, normalizer)
    return bytes(out)


def _bytes_field(number: int, data: bytes) -> bytes:
    return _encode_varint(number << 3 | 2) + _encode_varint(len(data)) + data


def _number_field(number: int, value: int) -> bytes:
    return _encode_varint(number << 3) + _encode_varint(value)


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _add_piece(model: SentencePieceModel, data: bytes, span: tuple[int, int]) -> None:
    text, score, kind = b"", 0.0, 1
    for number, value in _fields(data, *span):
        if number == 1:
            start, end = _span(value)
            text = data[start:end]
        elif number == 2:
            (score,) = _FLOAT.unpack_from(data, _span(value)[0])
        elif number == 3:
            kind = value  # type: ignore[assignment]
    if kind not in TOKEN_TYPES:
        raise ValueError(f"piece {len(model.pieces)} has the unknown type {kind}")
    if len(text) > MAX_PIECE_BYTES:
        raise ValueError(f"piece {len(model.pieces)} is longer than {MAX_PIECE_BYTES} bytes")
    if len(model.pieces) >= MAX_PIECES:
        raise ValueError(f"more than {MAX_PIECES} pieces")
    if score != score or b"\0" in text:
        raise ValueError(f"piece {len(model.pieces)} holds a NUL character, or its score is NaN")
    model.pieces.append(text.decode("utf-8"))
    model.scores.append(score)
    model.types.append(kind)


def _read_normalizer(model: SentencePieceModel, data: bytes, span: tuple[int, int]) -> None:
    for number, value in _fields(data, *span):
        if number == 2:
            start, end = _span(value)
            model.precompiled_charsmap = data[start:end]
        elif number == 3:
            model.add_dummy_prefix = bool(value)
        elif number == 4:
            model.remove_extra_whitespaces = bool(value)


def _span(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        raise ValueError("a field has the wrong wire type")
    return value


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Yield the number of each field, and its varint or the span of its bytes."""
    while at < end:
        tag, at = data[at], at + 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == 2:
            size, at = data[at], at + 1
            if size > 0x7F:
                size, at = _varint(data, at - 1)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire} at byte {at}")
        if size > end - at:
            raise ValueError(f"truncated at byte {at}")
        yield tag >> 3, (at, at + size)
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 0x80:
        return byte, at + 1
    value = 0
    for i in range(10):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError(f"a number at byte {at} has more than 10 bytes")
