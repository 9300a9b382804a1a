"""Tokenizer files made of metadata: they are read as the same metadata, and encode the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.architectures.registry import find_architecture
from ggufkit.errors import UnknownTokenizerError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers import tokenizer_metadata
from ggufkit.tokenizers.pre import NOTE
from ggufkit.tokenizers.restore import Restored, restore_tokenizer
from ggufkit.tokenizers.sentencepiece import encode_model, parse_model
from ggufkit.tokenizers.special import ID_KEYS
from ggufkit.types import ValueType
from tests.tokenizers.build import added, byte_level, message, model_type, piece, template, write
from tests.tokenizers.published import NAMES, cases, rebuild

SPM = (
    piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x0A>", 0, 6)
    + piece("▁a", -1.5) + piece("b", -2.25) + piece("ab", -3) + model_type(2)
)  # fmt: skip
NORMALIZER = message(3, message(2, b"\x01\x02") + b"\x18\x00\x20\x01")
UNIGRAM = (
    piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁a", -1.5)
    + piece("b", -2.25) + model_type(1) + NORMALIZER
)  # fmt: skip


def back(metadata: Metadata, folder: Path, kind: str, config: dict[str, Any]) -> Metadata:
    """Return what the restored files are read as, beside a config with the special tokens."""
    return read(restore_tokenizer(metadata, kind), metadata, folder, kind, config)


def read(
    restored: Restored, metadata: Metadata, folder: Path, kind: str, config: dict[str, Any]
) -> Metadata:
    folder.mkdir(parents=True)
    for name, data in restored.files.items():
        (folder / name).write_bytes(data)
    ids = {f"{name}_token_id": metadata[key] for name, key in ID_KEYS.items() if key in metadata}
    (folder / "config.json").write_text(json.dumps({**config, **ids}))
    return tokenizer_metadata(folder, kind=kind, config={**config, **ids})


def assert_same(one: Metadata, two: Metadata) -> None:
    assert dict(one) == dict(two)
    for key in one:
        assert one.type_of(key) == two.type_of(key)


@pytest.mark.parametrize("name", NAMES)
def test_published_vocabularies_encode_as_llama_cpp_does(
    oracle: Path, tmp_path: Path, name: str
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = rebuild(oracle, name, tmp_path / "published")
    config = json.loads((folder / "config.json").read_text())
    kind = find_architecture(config).tokenizer
    metadata = tokenizer_metadata(folder, kind=kind, config=config)
    assert_same(metadata, back(metadata, tmp_path / "back", kind, config))
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "back" / "tokenizer.json"))
    for text, ids in cases(oracle, name):
        # of SentencePiece tokenizers llama.cpp puts a space before a text that starts with one
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text


def test_sentencepiece_models_come_back(tmp_path: Path) -> None:
    decoder = {
        "5": {"content": "two▁words"},
        "7": {"content": "ctl", "special": True},
    }
    write(
        tmp_path / "one",
        tokenizer=SPM,
        added_tokens={"<|early|>": 8},
        tokenizer_config={
            "added_tokens_decoder": decoder, "add_bos_token": True, "bos_token": "<s>",
        },
    )  # fmt: skip
    config = {"vocab_size": 12}
    metadata = tokenizer_metadata(tmp_path / "one", kind="llama", config=config)
    assert metadata["tokenizer.ggml.token_type"] == [2, 3, 3, 6, 1, 4, 1, 3, 4, 5, 5, 5]
    assert_same(metadata, back(metadata, tmp_path / "two", "llama", config))
    model = parse_model((tmp_path / "two" / "tokenizer.model").read_bytes(), "it")
    assert len(model.pieces) == 9
    assert model.scores[4:7] == [-1.5, -1000.0, -3.0]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("t5", "spiece.model"),
        ("xlm_roberta", "sentencepiece.bpe.model"),
        ("nomic_moe", "sentencepiece.bpe.model"),
    ],
)
def test_unigram_models_come_back(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / name).write_bytes(UNIGRAM)
    config = {"vocab_size": 9, "type_vocab_size": 1}
    metadata = tokenizer_metadata(tmp_path / "one", kind=kind, config=config)
    assert metadata["tokenizer.ggml.precompiled_charsmap"] == [1, 2]
    assert metadata["tokenizer.ggml.add_space_prefix"] is False
    assert_same(metadata, back(metadata, tmp_path / "two", kind, config))


def test_pieces_are_written_as_they_are_read() -> None:
    for data in (SPM, UNIGRAM):
        model = parse_model(data, "it")
        assert parse_model(encode_model(model), "again") == model


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"post_processor": template("<s> A", "<s> A B")},
        {"post_processor": template("A </s>", "A </s> B </s>")},
        {"post_processor": template("<s> A </s>", "<s> A </s> B </s>")},
        {"post_processor": template("<s> A </s>", "<s> A </s> </s> B </s>")},
        {"post_processor": {"type": "ByteLevel"}},
        {"post_processor": {"type": "RobertaProcessing", "cls": ["<s>", 3], "sep": ["</s>", 4]}},
        {"normalizer": {"type": "Lowercase"}},
    ],
)
def test_what_is_put_around_a_text_comes_back(tmp_path: Path, fields: dict[str, Any]) -> None:
    special = [added(3, "<s>", special=True), added(4, "</s>", special=True), added(5, "a b")]
    write(
        tmp_path / "one",
        tokenizer=byte_level(added_tokens=special, **fields),
        tokenizer_config={"bos_token": "<s>", "eos_token": "</s>"},
    )
    config = {"vocab_size": 9}
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config=config)
    assert metadata["tokenizer.ggml.tokens"][5:] == ["a b", "[PAD6]", "[PAD7]", "[PAD8]"]
    assert_same(metadata, back(metadata, tmp_path / "two", "gpt2", config))


def test_a_tokenizer_that_ends_turns_with_its_eos(tmp_path: Path) -> None:
    special = [added(3, "<end>", special=True), added(4, "<turn>", special=True)]
    write(
        tmp_path / "one",
        tokenizer=byte_level(
            added_tokens=special, post_processor=template("A <end>", "A <end> B <end>")
        ),
        tokenizer_config={"eos_token": "<turn>"},
    )
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={})
    assert metadata["tokenizer.ggml.eot_token_id"] == 4
    assert_same(metadata, back(metadata, tmp_path / "two", "gpt2", {}))


@pytest.mark.parametrize(
    "templates",
    [
        "{{ messages }}",
        [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}],
        [{"name": "../../evil", "template": "b"}],
    ],
)
def test_chat_templates_come_back(tmp_path: Path, templates: Any) -> None:
    write(tmp_path / "one", tokenizer=byte_level(), tokenizer_config={"chat_template": templates})
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={})
    assert_same(metadata, back(metadata, tmp_path / "two", "gpt2", {}))
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        "config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_a_name_that_the_cuts_do_not_tell_is_written_down(tmp_path: Path) -> None:
    write(tmp_path / "one", tokenizer=byte_level())
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={}, pre="olmo")
    plain = restore_tokenizer(metadata, "gpt2")
    assert read(plain, metadata, tmp_path / "plain", "gpt2", {})["tokenizer.ggml.pre"] == "gpt-2"
    noted = restore_tokenizer(metadata, "gpt2", note_pre=True)
    assert json.loads(noted.files["tokenizer_config.json"])[NOTE] == "olmo"
    assert_same(metadata, read(noted, metadata, tmp_path / "noted", "gpt2", {}))


def test_what_is_written_down_must_be_a_name_that_llama_cpp_knows(tmp_path: Path) -> None:
    write(tmp_path, tokenizer=byte_level(), tokenizer_config={NOTE: "new-thing"})
    got = tokenizer_metadata(tmp_path, kind="gpt2", config={})
    assert got["tokenizer.ggml.pre"] == "gpt-2"


def test_unknown_cuts_are_those_of_gpt2_and_said_to_be(tmp_path: Path) -> None:
    write(tmp_path / "one", tokenizer=byte_level())
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={}, pre="default")
    restored = restore_tokenizer(metadata, "gpt2", note_pre=True)
    assert "splits as GPT-2 does" in restored.notes[0]
    assert_same(metadata, read(restored, metadata, tmp_path / "two", "gpt2", {}))


def test_merges_to_nothing_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "one", tokenizer=byte_level())
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={})
    metadata.set("tokenizer.ggml.merges", ["a b", "b a", "x y z"], ValueType.STRING)
    restored = restore_tokenizer(metadata, "gpt2")
    assert restored.notes == ["2 merges left out: they join or give no tokens"]
    assert json.loads(restored.files["tokenizer.json"])["model"]["merges"] == [["a", "b"]]


@pytest.mark.parametrize(
    ("key", "value", "value_type"),
    [
        ("tokens", [1, 2], ValueType.INT32),
        ("tokens", "text", ValueType.STRING),
        ("token_type", [1], ValueType.INT32),
        ("token_type", ["1", "2", "3"], ValueType.STRING),
        ("token_type", 4, ValueType.INT32),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, key, value, value_type) -> None:
    write(tmp_path / "one", tokenizer=byte_level())
    metadata = tokenizer_metadata(tmp_path / "one", kind="gpt2", config={})
    metadata.set(f"tokenizer.ggml.{key}", value, value_type)
    with pytest.raises(UnknownTokenizerError, match=key):
        restore_tokenizer(metadata, "gpt2")


def test_types_that_there_are_not_and_charsmaps_that_are_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "spiece.model").write_bytes(UNIGRAM)
    metadata = tokenizer_metadata(tmp_path / "one", kind="t5", config={"vocab_size": 5})
    metadata.set("tokenizer.ggml.token_type", [2, 3, 3, -1, 77], ValueType.INT32)
    files = restore_tokenizer(metadata, "t5").files
    assert parse_model(files["spiece.model"], "it").types == [2, 3, 3, 1, 1]
    for odd in ([1, 256], [-1], "text"):
        kind = ValueType.STRING if odd == "text" else ValueType.INT32
        metadata.set("tokenizer.ggml.precompiled_charsmap", odd, kind)
        with pytest.raises(UnknownTokenizerError, match="charsmap"):
            restore_tokenizer(metadata, "t5")


def test_tokens_that_are_too_long_to_cut_are_not_cut() -> None:
    tokens = ["<unk>", "a" * 20_000, "b" * 10_000]
    metadata = Metadata({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens})
    metadata.set("tokenizer.ggml.token_type", [2, 1, 1], ValueType.INT32)
    metadata.set("tokenizer.ggml.scores", [0.0, -1.0, -2.0], ValueType.FLOAT32)
    restored = restore_tokenizer(metadata, "llama")
    assert set(restored.files) == {"tokenizer.model", "tokenizer_config.json"}
    assert "too long" in restored.notes[0]


def test_no_vocabulary_and_other_kinds_give_no_files() -> None:
    nothing = restore_tokenizer(Metadata(), "gpt2")
    assert not nothing.files
    assert nothing.notes
    metadata = Metadata({"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": ["a"]})
    assert not restore_tokenizer(metadata, "gpt2").files
