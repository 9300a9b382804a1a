"""Ids of special tokens: used, or said."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import main
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.tokenizers.special import ID_KEYS
from tests.llama import write_llama
from tests.tokenizers.build import added, byte_level, write
from tests.tokenizers.test_added_tokens import N_SPM, SPM, converted

N = 302
KINDS = ("gpt2", "spm")
KEYED = sorted(set(ID_KEYS) - {"eot", "eom"})


def settled(
    folder: Path, kind: str, config: dict[str, Any], **files: Any
) -> tuple[Metadata, list[str]]:
    """The metadata of 302 tokens, the last two of them </s> and <end>."""
    folder.mkdir(exist_ok=True)
    config = {"vocab_size": N, **config}
    if kind == "spm":
        (folder / "tokenizer.model").write_bytes(SPM)
        return converted(folder, kind, config=config, **files)
    vocab = {f"t{i}": i for i in range(300)}
    tokens = [added(300, "</s>", special=True), added(301, "<end>", special=True)]
    tokenizer = byte_level(vocab, added_tokens=tokens, model={"type": "BPE", "vocab": vocab})
    return converted(folder, kind, config=config, tokenizer=tokenizer, **files)


@pytest.mark.parametrize(
    "value", [5000, 302, 2**32, 2**70, -5, 2.0, True, "2", {}, [[2]], [5000], [2.0, "3"]]
)
@pytest.mark.parametrize("name", [*KEYED, "cls"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_id_is_not_in_the_file_but_said(
    tmp_path: Path, kind: str, name: str, value: Any
) -> None:
    got, notes = settled(tmp_path, kind, {f"{name}_token_id": value})
    assert not [key for key in got if key.endswith("_token_id")]
    assert any(f"config.json: {name}_token_id is" in note for note in notes)
    assert any("no eos token could be set" in note for note in notes) == (name == "eos")


@pytest.mark.parametrize("value", [None, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_no_token_is_no_fault(tmp_path: Path, kind: str, value: int | None) -> None:
    config = {f"{name}_token_id": value for name in ID_KEYS}
    got, notes = settled(tmp_path, kind, config)
    assert not [key for key in got if key.endswith("_token_id")]
    assert not notes


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        ({"eos_token_id": [5, 7]}, {"eos_token_id": [8]}, 5),
        ({"eos_token_id": [5000, 7]}, {}, 7),
        ({"eos_token_id": [True, 7]}, {}, 7),
        ({"text_config": {"eos_token_id": [9]}}, {}, 9),
        ({}, {"eos_token_id": [6, 5]}, 6),
        ({}, {"eos_token_id": 6}, 6),
        ({"eos_token_id": 5000}, {"eos_token_id": 6}, 6),
        ({"eos_token_id": 4}, {"eos_token_id": 6}, 4),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_eos_is_the_first_usable_id(
    tmp_path: Path, kind: str, config: dict[str, Any], generation: dict[str, Any], expected: int
) -> None:
    got, _ = settled(tmp_path, kind, config, generation_config=generation)
    assert got["tokenizer.ggml.eos_token_id"] == expected


@pytest.mark.parametrize("name", KEYED)
def test_of_a_list_the_first_is_used_for_every_token(tmp_path: Path, name: str) -> None:
    got, _ = settled(tmp_path, "gpt2", {f"{name}_token_id": [3, 4]})
    assert got[ID_KEYS[name]] == 3


@pytest.mark.parametrize("value", [5000, [5, 7], "x", 5])
def test_a_text_that_tokenizer_json_knows_decides(tmp_path: Path, value: Any) -> None:
    config = {"eos_token_id": value}
    got, notes = settled(tmp_path, "gpt2", config, tokenizer_config={"eos_token": "</s>"})
    assert got["tokenizer.ggml.eos_token_id"] == 300
    assert any("config.json" in note for note in notes)


def test_contradictions_are_said(tmp_path: Path) -> None:
    _, notes = settled(tmp_path, "spm", {"eos_token_id": 2}, tokenizer_config={"eos_token": "ab"})
    said = f"eos is the token 2 ('</s>'), but tokenizer_config.json says {N_SPM - 1} ('ab')"
    assert said in notes
    _, notes = settled(
        tmp_path, "gpt2", {},
        tokenizer_config={"bos_token": "</s>"}, special_tokens_map={"bos_token": "<end>"},
    )  # fmt: skip
    assert any("special_tokens_map.json says bos_token '<end>'" in note for note in notes)


@pytest.mark.parametrize("name", ["bos", "eos", "unk", "sep", "pad", "cls", "mask"])
def test_a_text_that_is_no_token_is_said(tmp_path: Path, name: str) -> None:
    _, notes = settled(tmp_path, "spm", {}, tokenizer_config={f"{name}_token": "<nope>"})
    assert any("'<nope>', which is no token" in note for note in notes)


def test_an_id_of_padding_is_said(tmp_path: Path) -> None:
    got, notes = settled(tmp_path, "spm", {"eos_token_id": N - 1})
    assert got["tokenizer.ggml.eos_token_id"] == N - 1
    assert any("eos is 301, which is no token of the vocabulary" in note for note in notes)


@pytest.mark.parametrize("name", ["eot", "eom"])
def test_ids_that_the_converter_does_not_read_are_said(tmp_path: Path, name: str) -> None:
    got, notes = settled(tmp_path, "gpt2", {f"{name}_token_id": 5})
    assert ID_KEYS[name] not in got
    assert any(f"{name}_token_id is not used" in note for note in notes)


def test_the_advice_for_a_missing_eos_works(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "model")
    write(folder, tokenizer_config={"eos_token": "<extra3>"})
    out = tmp_path / "v.gguf"
    assert main(["vocabulary", str(folder), "-o", str(out)]) == 0
    _, notes = converted(folder, "gpt2")
    (note,) = [note for note in notes if "ggufkit edit FILE" in note]
    command = note.partition("ggufkit ")[2].partition(" sets")[0].replace("FILE", str(out))
    assert main(shlex.split(command)) == 0
    with GGUFFile.open(out) as file:
        assert file.metadata["tokenizer.ggml.eos_token_id"] == 259


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"eos_token_id": NaN}'])
def test_a_generation_config_that_is_none_is_no_source(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    got, _ = settled(tmp_path, "gpt2", {})
    assert "tokenizer.ggml.eos_token_id" not in got


@pytest.mark.parametrize(
    ("generation", "said"),
    [({"eos_token_id": [5, 7]}, True), ({"eos_token_id": 5}, True),
     ({"eos_token_id": [5, 2]}, False),
     ({"eos_token_id": 2}, False), ({"eos_token_id": None}, False), ({}, False)],
)  # fmt: skip
def test_other_ends_of_a_generated_text_are_said(
    tmp_path: Path, generation: dict[str, Any], said: bool
) -> None:
    got, notes = settled(tmp_path, "spm", {"eos_token_id": 2}, generation_config=generation)
    assert got["tokenizer.ggml.eos_token_id"] == 2
    assert any("ends texts at 5" in note for note in notes) == said


@pytest.mark.parametrize("value", [5, ["</s>"], {"content": 5}, True])
def test_a_special_token_that_is_no_text_is_said(tmp_path: Path, value: Any) -> None:
    _, notes = settled(tmp_path, "spm", {}, tokenizer_config={"eos_token": value})
    assert any("eos_token is" in note and "which is no text" in note for note in notes)
