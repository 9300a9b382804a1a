"""Tokenizers: the ``tokenizer.*`` metadata of a GGUF file, as llama.cpp's converter writes it."""

from __future__ import annotations

from ggufkit.tokenizers.kinds import KINDS, tokenizer_metadata
from ggufkit.tokenizers.pre import PRE_NAMES

__all__ = ["KINDS", "PRE_NAMES", "tokenizer_metadata"]
