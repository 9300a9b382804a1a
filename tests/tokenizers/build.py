"""Tokenizer files made by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from ggufkit.tokenizers.files import TokenizerFiles

QWEN2_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_REGEX = QWEN2_REGEX.replace(r"\p{N}|", r"\p{N}{1,3}|")
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


def write(folder: Path, **files: Any) -> TokenizerFiles:
    """Write ``name=value`` as ``name.json``, or ``name=bytes`` as ``name.model``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        if isinstance(value, bytes):
            (folder / f"{name}.model").write_bytes(value)
        else:
            (folder / f"{name}.json").write_text(json.dumps(value))
    return TokenizerFiles(folder)


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    """A pre-tokenizer of one expression, then bytes."""
    step = {
        "type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert
    }  # fmt: skip
    return {"type": "Sequence", "pretokenizers": [step, {**BYTE_LEVEL, "use_regex": False}]}


def byte_level(vocab: dict[str, int] | None = None, **fields: Any) -> dict[str, Any]:
    """A byte-level tokenizer.json; `fields` replace its parts."""
    tokenizer: dict[str, Any] = {
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": BYTE_LEVEL,
        "post_processor": None,
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab or {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    }
    return tokenizer | fields


def added(token_id: int, content: str, **flags: Any) -> dict[str, Any]:
    """An entry of ``added_tokens``."""
    return {"id": token_id, "content": content, "special": False, "normalized": False} | flags


def template(single: str, pair: str = "A B") -> dict[str, Any]:
    """A TemplateProcessing post-processor; capital letters stand for the texts."""

    def pieces(text: str) -> list[dict[str, Any]]:
        return [
            {"Sequence": {"id": name}} if name in "AB" else {"SpecialToken": {"id": name}}
            for name in text.split()
        ]

    return {"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair)}


def varint(value: int) -> bytes:
    """A protobuf number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str | bytes, score: float = 0.0, kind: int | None = None) -> bytes:
    """A piece of a SentencePiece model; kinds: 2 unknown, 3 control, 4 user-defined, 6 byte."""
    raw = text.encode() if isinstance(text, str) else text
    body = message(1, raw) + b"\x15" + struct.pack("<f", score)
    return message(1, body + (b"" if kind is None else b"\x18" + varint(kind)))


def model_type(kind: int) -> bytes:
    """The trainer's part of a SentencePiece model: 1 unigram, 2 byte-pair."""
    return message(2, b"\x18" + varint(kind))
