"""Tokenizers: ``tokenizer.*`` metadata from a checkpoint's files, as llama.cpp's converter does."""

from __future__ import annotations

from ggufkit.tokenizers.kinds import KINDS, tokenizer_metadata
from ggufkit.tokenizers.pre import PRE_NAMES
from ggufkit.tokenizers.selftest import SelfTest, self_test

__all__ = ["KINDS", "PRE_NAMES", "SelfTest", "self_test", "tokenizer_metadata"]
