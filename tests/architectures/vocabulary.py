"""A vocabulary that llama.cpp accepts, of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufkit.gguf.metadata import Metadata

_SPECIAL = ("<unk>", "<s>", "</s>")
_ASKED_FOR = "<|endoftext|>"  # in a Phi 3
_UNKNOWN, _CONTROL, _NORMAL, _BYTE = 2, 3, 1, 6


def vocabulary(n_tokens: int, config: Mapping[str, Any]) -> Metadata:
    """Return a sentencepiece vocabulary of three special tokens, all bytes, and some words."""
    n_words = n_tokens - len(_SPECIAL) - 256
    tokens = [
        *_SPECIAL,
        *(f"<0x{i:02X}>" for i in range(256)),
        *(f"w{i}" for i in range(1, n_words)),
    ]
    tokens.append(_ASKED_FOR)
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * n_words]
    return Metadata(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.scores": [-float(i) for i in range(n_tokens)],
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.token_type_count": config.get("type_vocab_size", 1),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
    )
