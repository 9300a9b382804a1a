"""Decoding of single tokens by tokenizer.json's decoder.

llama.cpp needs added tokens as they are written in a text, so the converter has the tokenizer
encode and decode each of them. Encoding an added token gives that token; decoding is done here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ggufkit.tokenizers.files import as_list, get

if TYPE_CHECKING:
    from ggufkit.tokenizers.files import TokenizerFiles

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

# The byte-level alphabet: each byte as a printable character (GPT-2's encoder).
CHAR_OF = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(_OTHERS)
}
BYTE_OF = {char: byte for byte, char in CHAR_OF.items()}

# The replacements of WordPiece's clean-up, for English punctuation.
CLEAN_UP = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def decode_token(files: TokenizerFiles, text: str) -> str:
    """Decode a single token of this text."""
    tokenizer = files.tokenizer_json_or_legacy or {}
    return decode_with(tokenizer.get("decoder"), text)


def decode_with(decoder: Any, text: str) -> str:
    """Decode a single token with a decoder of tokenizer.json."""
    if not isinstance(decoder, dict):
        return text
    kind = decoder.get("type")
    if kind == "Sequence":
        for step in as_list(decoder.get("decoders")):
            text = decode_with(step, text)
    elif kind == "ByteLevel":
        return _decode_bytes(text)
    elif kind == "WordPiece" and decoder.get("cleanup", True):
        for before, after in CLEAN_UP:
            text = text.replace(before, after)
    elif kind == "Replace" and (old := get(decoder, "pattern", "String")):
        text = text.replace(str(old), str(decoder.get("content", "")))
    elif kind == "Strip":
        text = _strip(text, decoder)
    elif kind == "Metaspace":
        text = _replace_metaspace(text, decoder)
    return text


def _replace_metaspace(text: str, decoder: dict[str, Any]) -> str:
    text = text.replace(str(decoder.get("replacement", "▁")), " ")
    return text if decoder.get("prepend_scheme", "always") == "never" else text.removeprefix(" ")


def _decode_bytes(text: str) -> str:
    """Map characters of the byte-level alphabet to bytes; return text with other characters."""
    try:
        data = bytes(BYTE_OF[char] for char in text)
    except KeyError:
        return text
    return data.decode("utf-8", errors="replace")


def _strip(text: str, decoder: dict[str, Any]) -> str:
    """Remove up to `start` and `stop` copies of a character from the two ends."""
    content = str(decoder.get("content", " "))
    for _ in range(_count(decoder, "start")):
        text = text.removeprefix(content)
    for _ in range(_count(decoder, "stop")):
        text = text.removesuffix(content)
    return text


def _count(decoder: dict[str, Any], key: str) -> int:
    value = decoder.get(key)
    return min(value, 64) if type(value) is int else 0
