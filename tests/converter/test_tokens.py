"""Whole conversions of models whose tokenizer files are odd or contradict each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.cli.main import main
from ggufkit.gguf.reader import GGUFFile
from tests.llama import write_llama
from tests.tokenizers.build import write
from tests.tokenizers.test_added_tokens import new_tokens, tokenizer_json


def model(folder: Path, *texts: str, vocab: int = 320, **files: Any) -> Path:
    """A small model with added tokens; `files` replace parts of its JSON files."""
    write_llama(folder, vocab=vocab)
    write(folder, tokenizer=tokenizer_json(*new_tokens(*texts)))
    for name, values in files.items():
        path = folder / f"{name}.json"
        before = json.loads(path.read_text()) if path.exists() else {}
        write(folder, **{name: {**before, **values}})
    return folder


def metadata(folder: Path, out: Path) -> dict[str, Any]:
    """The metadata of the file that a model becomes."""
    assert main(["convert", str(folder), "--ladder", "F16", "-o", str(out)]) == 0
    with GGUFFile.open(out) as file:
        return dict(file.metadata)


def refused(folder: Path, out: Path, capsys: Any) -> str:
    """What is said of a model that is not converted; nothing is left of it."""
    status = main(["convert", str(folder), "--ladder", "F16,Q8_0", "-o", str(out)])
    said = capsys.readouterr().err
    assert status in (1, 2, 3)
    assert "Traceback" not in said
    assert not list(out.glob("*.gguf")) if out.exists() else True
    return str(said)


def test_added_words_have_their_text_in_the_file(tmp_path: Path) -> None:
    words = ["Größe", "§80C", "Ã¶", "Ġ▁"]
    found = metadata(model(tmp_path / "m", *words), tmp_path / "m.gguf")
    assert found["tokenizer.ggml.tokens"][257:261] == words
    assert found["tokenizer.ggml.token_type"][257:261] == [4] * 4


@pytest.mark.parametrize("config", [{}, {"chat_template": None}, {"chat_template": "older"}])
def test_the_jinja_file_is_the_template_in_the_file(
    tmp_path: Path, config: dict[str, Any], capsys: Any
) -> None:
    folder = model(tmp_path / "m", tokenizer_config=config)
    (folder / "chat_template.jinja").write_text("{{ newer }}")
    found = metadata(folder, tmp_path / "m.gguf")
    assert found["tokenizer.chat_template"] == "{{ newer }}"
    said = "The chat template of tokenizer_config.json is not used" in capsys.readouterr().out
    assert said == (config.get("chat_template") is not None)


@pytest.mark.parametrize("eos", [5000, [5000], -3, 2.5, "2", True])
def test_an_eos_that_is_no_token_is_not_in_the_file(tmp_path: Path, eos: Any, capsys: Any) -> None:
    folder = model(tmp_path / "m", vocab=302, config={"eos_token_id": eos})
    found = metadata(folder, tmp_path / "m.gguf")
    assert "tokenizer.ggml.eos_token_id" not in found
    shown = capsys.readouterr().out
    assert "eos_token_id is" in shown
    assert "No eos token could be set" in shown


def test_the_first_eos_of_a_list_is_in_the_file(tmp_path: Path) -> None:
    given = {"eos_token_id": [7, 9]}
    folder = model(tmp_path / "m", config=given, generation_config=given)
    assert metadata(folder, tmp_path / "m.gguf")["tokenizer.ggml.eos_token_id"] == 7


@pytest.mark.parametrize("where", ["tokenizer.json", "tokenizer_config.json", "added_tokens.json"])
def test_a_gap_before_added_tokens_is_refused(tmp_path: Path, where: str, capsys: Any) -> None:
    texts = ("<bos>", "<eos>")
    gap = [entry | {"id": entry["id"] + 50} for entry in new_tokens(*texts)]
    ids = {"bos_token_id": 307, "eos_token_id": 308}
    names = {"bos_token": "<bos>", "eos_token": "<eos>"}
    folder = model(tmp_path / "m", config=ids, tokenizer_config=names)
    if where == "tokenizer.json":
        write(folder, tokenizer=tokenizer_json(*gap))
    elif where == "tokenizer_config.json":
        decoder = {str(entry["id"]): entry for entry in gap}
        write(folder, tokenizer_config=names | {"added_tokens_decoder": decoder})
    else:
        write(folder, added_tokens={entry["content"]: entry["id"] for entry in gap})
    said = refused(folder, tmp_path / "out", capsys)
    assert f"{where}: the added token '<bos>' has the id 307" in said


def test_two_tokens_with_one_text_are_refused(tmp_path: Path, capsys: Any) -> None:
    folder = model(tmp_path / "m", "[PAD300]")
    said = refused(folder, tmp_path / "out", capsys)
    assert "the tokens 257 and 300 are both '[PAD300]'" in said
