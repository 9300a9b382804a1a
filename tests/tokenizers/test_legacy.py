from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from ggufkit.converter.sources.vocabulary import VocabularySource
from ggufkit.errors import CheckpointError, UnknownTokenizerError
from ggufkit.tokenizers import tokenizer_metadata
from tests.converter.files import write_file
from tests.tokenizers.build import write
from tests.tokenizers.published import rebuild

# SHA-256 of what the real converter makes of the same files.
EXPECTED = json.loads((Path(__file__).parent / "vocab_only.json").read_text())["legacy"]


def as_before(folder: Path) -> None:
    """Replace tokenizer.json by the files that there were before it."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    model = tokenizer["model"]
    if model["type"] == "WordPiece":
        (folder / "vocab.txt").write_text("\n".join(model["vocab"]) + "\n", encoding="utf-8")
        return
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(["#version: 0.2", *model["merges"]]) + "\n"
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    if any(token["id"] >= len(model["vocab"]) for token in tokenizer["added_tokens"]):
        config = json.loads((folder / "tokenizer_config.json").read_text())
        config["added_tokens_decoder"] = {
            str(token.pop("id")): token for token in tokenizer["added_tokens"]
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", EXPECTED)
def test_older_files_give_the_converters_own_file(oracle: Path, tmp_path: Path, name: str) -> None:
    folder = rebuild(oracle, name, tmp_path / name)
    as_before(folder)
    data = write_file(VocabularySource.open(folder), tmp_path / "v.gguf").read_bytes()
    assert hashlib.sha256(data).hexdigest() == EXPECTED[name]


def test_vocab_txt(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncat\n##s")
    write(tmp_path, tokenizer_config={"tokenizer_class": "BertTokenizerFast"})
    got = tokenizer_metadata(tmp_path, kind="bert", config={"vocab_size": 8})
    assert got["tokenizer.ggml.tokens"] == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁cat", "s", "▁[PAD7]",
    ]  # fmt: skip
    assert got["tokenizer.ggml.token_type"] == [3, 3, 3, 3, 3, 1, 1, 5]
    (tmp_path / "vocab.txt").write_text("cat\ncat\n")
    with pytest.raises(CheckpointError, match="two lines are equal"):
        tokenizer_metadata(tmp_path, kind="bert", config={})


def test_the_class_may_be_known_by_the_models_type(tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    write(tmp_path, vocab={"a": 0, "b": 1, "ab": 2}, config={"model_type": "qwen2"})
    got = tokenizer_metadata(tmp_path, kind="qwen", config={})
    assert got["tokenizer.ggml.pre"] == "qwen2"
    assert got["tokenizer.ggml.tokens"] == ["a", "b", "ab", "<|endoftext|>"]
    assert got["tokenizer.ggml.merges"] == ["a b"]


def test_other_classes_and_missing_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, vocab={"a": 0}, tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
    with pytest.raises(UnknownTokenizerError, match="neither"):
        tokenizer_metadata(tmp_path, kind="gpt2", config={})
    (tmp_path / "merges.txt").write_text("")
    assert tokenizer_metadata(tmp_path, kind="gpt2", config={})["tokenizer.ggml.pre"] == "gpt-2"
    write(tmp_path, tokenizer_config={"tokenizer_class": "OtherTokenizer"})
    with pytest.raises(UnknownTokenizerError, match="neither"):
        tokenizer_metadata(tmp_path, kind="gpt2", config={})
    spaced = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}
    write(tmp_path, tokenizer_config=spaced)
    with pytest.raises(UnknownTokenizerError, match="--pre NAME"):
        tokenizer_metadata(tmp_path, kind="gpt2", config={})
