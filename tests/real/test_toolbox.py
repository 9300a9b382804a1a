"""The real llama.cpp loads what the toolbox writes, and says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

import ggufkit
from tests.real.llama_cpp import ask

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def written(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    ggufkit.split(smollm2, folder / "split", max_tensors=100)
    first = next(folder.glob("split-00001-of-*.gguf"))
    ggufkit.merge(first, folder / "merged.gguf")
    ggufkit.copy(smollm2, folder / "copied.gguf", alignment=64)
    values = {"general.name": "Another name", "tokenizer.chat_template": "{{ messages }}" * 100}
    ggufkit.edit(smollm2, out=folder / "edited.gguf", values=values, reserve=4096)
    ggufkit.edit(folder / "edited.gguf", values={"general.name": "A name that is longer"})
    ggufkit.convert_endian(smollm2, folder / "big.gguf", "big")
    ggufkit.convert_endian(folder / "big.gguf", folder / "back.gguf", "little")
    (folder / "big.gguf").unlink()
    names = ("merged", "copied", "edited", "back")
    return {"split": first, **{name: folder / f"{name}.gguf" for name in names}}


def test_every_file_says_what_the_original_says(smollm2: Path, written: dict[str, Path]) -> None:
    answers = ask("complete", PROMPT, [smollm2, *written.values()])
    assert answers[smollm2.name].startswith(" Paris")
    for name, path in written.items():
        assert answers[path.name] == answers[smollm2.name], name


def test_weights_are_the_originals(smollm2: Path, written: dict[str, Path]) -> None:
    expected = ggufkit.hash_file(smollm2).weights
    for name, path in written.items():
        assert ggufkit.hash_file(path).weights == expected, name
