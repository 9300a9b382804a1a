"""Vocabularies of published models: the real llama.cpp tokenizes with ours as with its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest
import tiktoken
from tokenizers import Tokenizer

from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.writer import write
from ggufkit.tokenizers.pre import BPE_NAMES
from ggufkit.tokenizers.probes import PROBES
from ggufkit.tokenizers.rebuild import rebuild as rebuild_tokenizer
from tests.converter.files import write_file
from tests.llama import write_llama
from tests.real.llama_vocab import loaded, tokenize
from tests.tokenizers.published import NAMES, cases, rebuild, reference
from tests.tokenizers.ranked import N_SPECIAL, PATTERN, train, write_tekken

ABSENT = None

# Where our metadata (and the converter's of today) differs from llama.cpp's reference files of
# 2024: key, ours, theirs. The keys of what is added to a text, of the normalizer and of bos and
# eos of BERT came later; that of cls went.
OLDER: dict[str, list[tuple[str, Any, Any]]] = {
    "bert-bge": [
        ("pre", "jina-v2-en", "bert-bge"),
        ("cls_token_id", ABSENT, 101),
        ("bos_token_id", 101, ABSENT),
        ("eos_token_id", 102, ABSENT),
        ("add_bos_token", True, ABSENT),
        ("add_eos_token", True, ABSENT),
        ("add_sep_token", False, ABSENT),
        ("normalizer.lowercase", True, ABSENT),
    ],
    "gpt-2": [("add_bos_token", False, ABSENT), ("add_eos_token", False, ABSENT)],
    "llama-bpe": [("add_bos_token", True, ABSENT)],
    "llama-spm": [("add_sep_token", False, ABSENT)],
    "qwen2": [("add_bos_token", False, ABSENT), ("add_eos_token", False, ABSENT)],
}
# Padding was of the type USER_DEFINED (4) once, and is UNUSED (5).
OLDER_TYPES = {"qwen2": Counter({(5, 4): 290})}


def vocabulary(oracle: Path, name: str, folder: Path) -> Path:
    source = rebuild(oracle, name, folder / name)
    return write_file(VocabularySource.open(source, self_test=False), folder / "vocab.gguf")


@pytest.mark.parametrize("name", NAMES)
def test_every_text_gives_the_ids_of_the_reference(oracle: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("xllamacpp")
    texts, expected = zip(*cases(oracle, name), strict=True)
    assert len(texts) == 46
    assert tokenize(vocabulary(oracle, name, tmp_path), texts) == list(expected)


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_that_of_the_reference(oracle: Path, tmp_path: Path, name: str) -> None:
    with (
        GGUFFile.open(vocabulary(oracle, name, tmp_path)) as ours,
        GGUFFile.open(reference(oracle, name)) as theirs,
    ):
        got, want = tokenizer_keys(ours), tokenizer_keys(theirs)
    types = zip(got.pop("token_type"), want.pop("token_type"), strict=True)
    assert Counter(pair for pair in types if pair[0] != pair[1]) == OLDER_TYPES.get(name, Counter())
    for key, mine, other in OLDER[name]:
        assert (got.pop(key, ABSENT), want.pop(key, ABSENT)) == (mine, other), key
    assert got == want


def tokenizer_keys(file: GGUFFile) -> dict[str, Any]:
    prefix = "tokenizer.ggml."
    return {
        key.removeprefix(prefix): value
        for key, value in file.metadata.items()
        if key.startswith("tokenizer.")
    }


# llama.cpp strips more than accents from BERT's words: vowel signs of Devanagari, and what is left
# of Korean syllables.
BERT_DIFFERS = ("नमस्ते", "안녕하세요")


@pytest.mark.parametrize("name", NAMES)
def test_the_self_tests_tokenizer_is_that_of_llama_cpp(oracle: Path, name: str) -> None:
    pytest.importorskip("xllamacpp")
    with GGUFFile.open(reference(oracle, name)) as file:
        rebuilt = Tokenizer.from_str(json.dumps(rebuild_tokenizer(file.metadata)))
    rebuilt.encode_special_tokens = True
    differ = BERT_DIFFERS if name == "bert-bge" else ()
    probes = [text for text in PROBES if not text.startswith(differ or "never")]
    assert len(probes) == len(PROBES) - len(differ)
    got = [rebuilt.encode(text, add_special_tokens=False).ids for text in probes]
    assert got == tokenize(reference(oracle, name), probes)
    for text, ids in cases(oracle, name):
        assert rebuilt.encode(text, add_special_tokens=False).ids == ids, text


def test_tekken_tokenizes_as_the_ranks_say(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    folder = write_tekken(tmp_path / "Tiny-Tekken", "v3")
    path = write_file(VocabularySource.open(folder), tmp_path / "v.gguf")
    encoding = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=train(), special_tokens={})
    # llama.cpp's expression leaves out the combining marks that Mistral's has
    texts = [text for text in PROBES if not any(category(char)[0] == "M" for char in text)]
    assert len(texts) >= 25
    expected = [[i + N_SPECIAL for i in encoding.encode(text)] for text in texts]
    assert tokenize(path, texts) == expected


def test_llama_cpp_knows_every_pre_tokenizer(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    source = VocabularySource.open(write_llama(tmp_path / "Tiny"), self_test=False)
    metadata = source.base_metadata
    paths = [tmp_path / f"{name}.gguf" for name in (*sorted(BPE_NAMES), "no-such-name")]
    for path in paths:
        metadata["tokenizer.ggml.pre"] = path.stem
        write(path, plan_layout(metadata, ()), ())
    assert [path.stem for path, loads in zip(paths, loaded(paths), strict=True) if not loads] == [
        "no-such-name"
    ]
