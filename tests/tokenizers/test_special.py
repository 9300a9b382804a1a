from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ggufkit.errors import CheckpointError
from ggufkit.gguf.metadata import Metadata
from ggufkit.tokenizers.files import TokenizerFiles
from ggufkit.tokenizers.special import special_metadata
from tests.tokenizers.build import added, byte_level, template, write

TOKENS = [added(10, "<s>"), added(11, "</s>"), added(12, "<end>"), added(13, "[SEP]")]
BYTE_LEVEL = {"type": "ByteLevel"}


def found(metadata: Metadata) -> dict[str, Any]:
    """The metadata without the part of the keys that all have."""
    return {key.removeprefix("tokenizer.").removeprefix("ggml."): metadata[key] for key in metadata}


def special(
    tmp_path: Path, config: dict[str, Any] | None, processor: Any = None, **model_config: Any
) -> dict[str, Any]:
    tokenizer = byte_level(added_tokens=TOKENS, post_processor=processor)
    written = write(tmp_path, tokenizer=tokenizer, config=model_config)
    if config is not None:
        written = write(tmp_path, tokenizer_config=config)
    return found(special_metadata(written))


def test_ids_come_from_the_added_tokens_then_from_the_config(tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<absent>"}
    got = special(
        tmp_path, config, bos_token_id=1, pad_token_id=2, sep_token_id=[3], unk_token_id=-1
    )
    assert got == {"bos_token_id": 10, "eos_token_id": 11, "padding_token_id": 2}


def test_the_text_part_of_a_multimodal_config_counts(tmp_path: Path) -> None:
    got = special(tmp_path, {}, eos_token_id=None, text_config={"eos_token_id": 5})
    assert got == {"eos_token_id": 5}


def test_ids_beyond_the_vocabulary_are_left_out(tmp_path: Path) -> None:
    files = write(tmp_path, config={"bos_token_id": 7, "eos_token_id": 8})
    assert found(special_metadata(files, n_vocab=8)) == {"bos_token_id": 7}


@pytest.mark.parametrize(
    ("config", "processor", "expected"),
    [
        # What tokenizer_config.json says holds where the post-processor is silent.
        ({"add_bos_token": True, "add_eos_token": False}, None,
         {"add_bos_token": True, "add_eos_token": False}),
        # A byte-level post-processor adds nothing, whatever tokenizer_config.json says.
        ({"add_bos_token": True}, BYTE_LEVEL, {"add_bos_token": False, "add_eos_token": False}),
        ({"bos_token": "<s>"}, template("<s> A", "<s> A <s> B"),
         {"bos_token_id": 10, "add_bos_token": True, "add_sep_token": False}),
        ({"bos_token": "<s>", "eos_token": "</s>"}, template("<s> A </s>", "<s> A </s> B </s>"),
         {"bos_token_id": 10, "eos_token_id": 11, "add_bos_token": True, "add_eos_token": True,
          "add_sep_token": False}),
        # Another first token than bos says that bos is not added; cls takes it over, though.
        ({"bos_token": "<s>", "cls_token": "</s>"}, template("<end> A"),
         {"bos_token_id": 10, "add_bos_token": False}),
        # Another last token than eos becomes eos, and eos the end of a turn.
        ({"eos_token": "<end>"}, template("A </s>"),
         {"eos_token_id": 11, "eot_token_id": 12, "add_eos_token": True}),
        ({"sep_token": "[SEP]", "eos_token": "</s>"}, template("A", "A [SEP] B"),
         {"eos_token_id": 11, "seperator_token_id": 13, "add_sep_token": True}),
        # A missing separator is eos.
        ({"eos_token": "</s>"}, template("A", "A </s> </s> B"),
         {"eos_token_id": 11, "seperator_token_id": 11, "add_sep_token": True}),
        # cls stands for bos, and sep for eos.
        ({"cls_token": "<s>", "sep_token": "[SEP]"}, template("<s> A [SEP]", "<s> A [SEP] B [SEP]"),
         {"bos_token_id": 10, "eos_token_id": 13, "seperator_token_id": 13,
          "add_bos_token": True, "add_eos_token": True, "add_sep_token": False}),
        ({"bos_token": "<s>", "eos_token": "</s>"},
         {"type": "RobertaProcessing", "cls": ["<s>", 10], "sep": ["[SEP]", 13]},
         {"bos_token_id": 10, "eos_token_id": 11, "seperator_token_id": 13,
          "add_bos_token": True, "add_eos_token": True, "add_sep_token": True}),
        ({"bos_token": "<s>"},
         {"type": "Sequence", "processors": [BYTE_LEVEL, template("<s> A")]},
         {"bos_token_id": 10, "add_bos_token": True, "add_eos_token": False}),
    ],
)  # fmt: skip
def test_post_processors(
    tmp_path: Path, config: dict[str, Any], processor: Any, expected: dict[str, Any]
) -> None:
    assert special(tmp_path, config, processor) == expected


def templates(tmp_path: Path, **config: Any) -> dict[str, Any]:
    files = write(tmp_path, tokenizer_config={"tokenizer_class": "X", **config})
    return found(special_metadata(files))


def test_one_chat_template(tmp_path: Path) -> None:
    text = '{{ messages }}\r\n""" {% import os %} \'\''
    assert templates(tmp_path, chat_template=text) == {"chat_template": text}
    assert templates(tmp_path, chat_template="") == {}
    assert templates(tmp_path, chat_template={"not": ["a template"]}) == {}


def test_named_chat_templates(tmp_path: Path) -> None:
    named = [
        {"name": "tool use", "template": "T"},
        {"name": "default", "template": "D"},
        {"name": "rag", "template": "R"},
        {"name": "", "template": "no name"},
        {"name": "nothing"},
        "neither",
    ]
    assert templates(tmp_path, chat_template=named) == {
        "chat_template.tool_use": "T",
        "chat_template.rag": "R",
        "chat_templates": ["tool_use", "rag"],
        "chat_template": "D",
    }


def test_chat_templates_in_files(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text('{"chat_template": "from json"}')
    assert templates(tmp_path) == {"chat_template": "from json"}
    (tmp_path / "chat_template.jinja").write_bytes("é\r\nfrom jinja".encode())
    assert templates(tmp_path) == {"chat_template": "é\nfrom jinja"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("RAG")
    (tmp_path / "additional_chat_templates" / "a-b.jinja").write_text("AB")
    (tmp_path / "additional_chat_templates" / "notes.txt").write_text("no")
    assert templates(tmp_path) == {
        "chat_template.a_b": "AB",
        "chat_template.rag": "RAG",
        "chat_templates": ["a_b", "rag"],
        "chat_template": "é\nfrom jinja",
    }
    assert templates(tmp_path, chat_template="from config")["chat_template"] == "é\nfrom jinja"


def test_a_template_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match="not UTF-8"):
        templates(tmp_path)


def merges_of(tmp_path: Path, merges: Any) -> list[str] | None:
    model = byte_level()["model"] | {"merges": merges}
    files = write(tmp_path, tokenizer=byte_level(model=model))
    return special_metadata(files, merges=True).get("tokenizer.ggml.merges")  # type: ignore[return-value]


def test_merges(tmp_path: Path) -> None:
    assert merges_of(tmp_path, ["a b", "Ġ c"]) == ["a b", "Ġ c"]
    assert merges_of(tmp_path, [["a", "b"], [" c", "d e"]]) == ["a b", "Ġc dĠe"]
    assert merges_of(tmp_path, []) is None
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n\n  # #\none two three\nĠ c\n")
    assert merges_of(tmp_path, []) == ["a b", "# #", "Ġ c"]
    for malformed in ([1], [["a"]], ["a b", ["a", "b"]], "a b", [["a", 1]]):
        with pytest.raises(CheckpointError, match="a list of strings or pairs"):
            merges_of(tmp_path, malformed)


@pytest.mark.parametrize(
    ("normalizer", "expected"),
    [
        ({"type": "Lowercase"}, {"normalizer.lowercase": True}),
        ({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}]},
         {"normalizer.strip_accents": True}),
        ({"type": "BertNormalizer", "lowercase": False, "strip_accents": True},
         {"normalizer.lowercase": False, "normalizer.strip_accents": True}),
        ({"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
         {"normalizer.lowercase": True}),
        ({"type": "NFC"}, {}),
    ],
)  # fmt: skip
def test_normalizer_flags(
    tmp_path: Path, normalizer: dict[str, Any], expected: dict[str, Any]
) -> None:
    files = write(tmp_path, tokenizer=byte_level(normalizer=normalizer))
    assert found(special_metadata(files)) == expected


def test_a_folder_without_tokenizer_files_has_no_special_tokens(tmp_path: Path) -> None:
    assert found(special_metadata(TokenizerFiles(tmp_path), merges=True)) == {}
