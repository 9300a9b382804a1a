from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from tokenizers import Tokenizer

from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.errors import CheckpointError, UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers import ranks, tokenizer_metadata
from ggufkit.tokenizers.probes import PROBES
from ggufkit.tokenizers.rebuild import rebuild
from tests.converter.files import write_file
from tests.tokenizers.build import QWEN2_REGEX, byte_level, write
from tests.tokenizers.manifest import manifest
from tests.tokenizers.ranked import (
    CONFIG,
    N_SPECIAL,
    N_TOKENS,
    PATTERN,
    tekken,
    train,
    write_tekken,
    write_tiktoken,
)

# What the real converter made of the same files.
EXPECTED = json.loads((Path(__file__).parent / "vocab_only.json").read_text())


def ids(metadata: Metadata, text: str) -> list[int]:
    tokenizer = Tokenizer.from_str(json.dumps(rebuild(metadata)))
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("version", EXPECTED["tekken"])
def test_tekken_gives_the_converters_own_file(tmp_path: Path, version: str) -> None:
    folder = write_tekken(tmp_path / "Tiny-Tekken", version)
    data = write_file(VocabularySource.open(folder), tmp_path / "v.gguf").read_bytes()
    assert hashlib.sha256(data).hexdigest() == EXPECTED["tekken"][version]


def test_tiktoken_gives_what_the_converter_writes(tmp_path: Path) -> None:
    folder = write_tiktoken(tmp_path / "Qwen-Tiny")
    got = tokenizer_metadata(folder, kind="tiktoken", config={"vocab_size": 820})
    assert manifest(got) == EXPECTED["tiktoken"]
    for kind in ("gpt2", "qwen"):
        assert manifest(
            tokenizer_metadata(folder, kind=kind, config={"vocab_size": 820})
        ) == manifest(got)


def test_texts_have_the_ids_that_the_ranks_give(tmp_path: Path) -> None:
    encoding = tiktoken.Encoding("x", pat_str=PATTERN, mergeable_ranks=train(), special_tokens={})
    folder = write_tekken(tmp_path / "Tekken", "v3")
    metadata = tokenizer_metadata(folder, kind="llama", config=CONFIG)
    for text in PROBES:
        assert ids(metadata, text) == [i + N_SPECIAL for i in encoding.encode(text)], text

    qwen = tiktoken.Encoding("x", pat_str=QWEN2_REGEX, mergeable_ranks=train(), special_tokens={})
    folder = write_tiktoken(tmp_path / "Qwen")
    metadata = tokenizer_metadata(folder, kind="tiktoken", config={})
    for text in PROBES:
        assert ids(metadata, text) == qwen.encode(text), text


def test_a_tokenizer_json_counts_more(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(), tekken=tekken("v3"))
    got = tokenizer_metadata(tmp_path, kind="llama", config={})
    assert got["tokenizer.ggml.tokens"] == ["a", "b", "ab"]


def test_later_versions_bring_their_template(tmp_path: Path) -> None:
    write(tmp_path, tekken=tekken("v13"))
    got = tokenizer_metadata(tmp_path, kind="llama", config={})
    assert "tokenizer.chat_template" not in got
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    got = tokenizer_metadata(tmp_path, kind="llama", config={})
    assert got["tokenizer.chat_template"] == "{{ messages }}"


def test_a_template_of_the_files_that_an_earlier_version_does_not_use_is_said(
    tmp_path: Path,
) -> None:
    write(tmp_path, tekken=tekken("v7"), tokenizer_config={"chat_template": "T"})
    notes: list[str] = []
    got = tokenizer_metadata(tmp_path, kind="llama", config={}, notes=notes)
    assert got["tokenizer.chat_template"] == "mistral-v7-tekken"
    assert any("that of the files is not used" in note for note in notes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("config"), "default_vocab_size and default_num_special_tokens"),
        (lambda t: t["config"].update(default_vocab_size=10**12), "tokens, 40 of them special"),
        (lambda t: t["config"].update(default_vocab_size=641), "vocab_size 640; do tokenizer and"),
        (lambda t: t["config"].update(default_num_special_tokens=2), "must be 2 texts"),
        (lambda t: t["special_tokens"].append(t["special_tokens"][0]), "the same text"),
        (lambda t: t["vocab"].pop(0), "in the order of their ranks"),
        (lambda t: t["vocab"].insert(300, 7), "in the order of their ranks"),
        (
            lambda t: t["vocab"][5].update(token_bytes="AA=="),
            "the token of rank 5 must be that byte",
        ),
        (lambda t: t["vocab"][300].update(token_bytes="?"), "not base64"),
        (lambda t: t["vocab"][300].update(token_bytes=7), "not base64"),
        (lambda t: t["vocab"][300].update(token_bytes="AA=="), "occurs twice"),
        (
            lambda t: t["vocab"][300].update(token_bytes=base64.b64encode(b"zq#").decode()),
            "the token of rank 300 can't be split into two",
        ),
    ],
)
def test_a_damaged_tekken_is_refused(
    tmp_path: Path, damage: Callable[[dict[str, Any]], Any], message: str
) -> None:
    made = tekken("v7")
    damage(made)
    write(tmp_path, tekken=made)
    with pytest.raises(CheckpointError, match=message):
        tokenizer_metadata(tmp_path, kind="llama", config=CONFIG)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("IQ== zero", "must be a token and its rank"),
        ("IQ==", "must be a token and its rank"),
        ("IQ== 1 2", "must be a token and its rank"),
        ("IQ== 99999999999999999999", "must be a token and its rank"),
        ("! 1", "not base64"),
        ("IQ== 1\nIg== 1", "occurs twice"),
        ("IQ== 1\nIQ== 2", "occurs twice"),
        ("IQ== 1\nIiMk 2", "the token of rank 2 is not made of two"),
        ("AA== 900", "has the id 900, but config.json says vocab_size 820"),
    ],
)
def test_a_damaged_tiktoken_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "qwen.tiktoken").write_text(lines)
    with pytest.raises(CheckpointError, match=message):
        tokenizer_metadata(tmp_path, kind="tiktoken", config={"vocab_size": 820})


def test_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiktoken(tmp_path / "Qwen")
    monkeypatch.setattr(ranks, "_MAX_WORK", 1000)
    with pytest.raises(CheckpointError, match="too long to find their merges"):
        tokenizer_metadata(tmp_path / "Qwen", kind="tiktoken", config={})


def test_special_tokens_are_listed_or_known_by_the_files_name(tmp_path: Path) -> None:
    folder = write_tiktoken(tmp_path / "other")
    (folder / "qwen.tiktoken").rename(folder / "other.tiktoken")
    with pytest.raises(UnknownTokenizerError, match="added_tokens_decoder"):
        tokenizer_metadata(folder, kind="tiktoken", config={}, pre="qwen2")
    decoder = {str(N_TOKENS + 1): {"content": "<|endoftext|>"}}
    config = {"added_tokens_decoder": decoder, "chat_template": "T", "eos_token": "<|endoftext|>"}
    write(folder, tokenizer_config=config, config={"eos_token_id": 3})
    with pytest.raises(UnknownTokenizerError, match="--pre NAME"):
        tokenizer_metadata(folder, kind="tiktoken", config={})
    got = tokenizer_metadata(folder, kind="tiktoken", config={}, pre="gpt-2")
    assert got["tokenizer.ggml.tokens"][-2:] == ["[PAD600]", "<|endoftext|>"]  # type: ignore[index]
    assert got["tokenizer.ggml.token_type"][-2:] == [5, 3]  # type: ignore[index]
    assert got["tokenizer.ggml.eos_token_id"] == 3
    assert got["tokenizer.ggml.unknown_token_id"] == N_TOKENS + 1
    assert "tokenizer.ggml.bos_token_id" not in got
    assert got["tokenizer.chat_template"] == "T"


def test_without_any_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownTokenizerError, match="nor a tiktoken file"):
        tokenizer_metadata(tmp_path, kind="tiktoken", config={})
