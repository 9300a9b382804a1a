"""The rebuilt files of published models tokenize as the originals: other tests rely on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from tests.tokenizers.published import NAMES, cases, rebuild


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"llama-spm"}))
def test_tokenizer_json(oracle: Path, tmp_path: Path, name: str) -> None:
    tokenizer = Tokenizer.from_file(str(rebuild(oracle, name, tmp_path / name) / "tokenizer.json"))
    for text, ids in cases(oracle, name):
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text


def test_tokenizer_model(oracle: Path, tmp_path: Path) -> None:
    folder = rebuild(oracle, "llama-spm", tmp_path / "llama")
    processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text, ids in cases(oracle, "llama-spm"):
        assert processor.encode(text) == ids, text
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text
