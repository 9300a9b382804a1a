"""Gemma 4's tokenizer beside what llama.cpp's converter writes of the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ggufkit.errors import UnknownTokenizerError
from ggufkit.tokenizers import tokenizer_metadata
from ggufkit.tokenizers.restore import restore_tokenizer
from ggufkit.tokenizers.selftest import TokenizerMismatchError, self_test
from tests.tokenizers.build import write

#: Files like the published ones, and the converter's ``tokenizer.*`` keys, in its order.
CASE = json.loads(Path(__file__).with_name("gemma4.json").read_text(encoding="utf-8"))


def files(folder: Path, **changes: Any) -> Path:
    write(folder, **{**CASE["files"], **changes})
    return folder


def test_all_keys_are_the_converters(tmp_path: Path) -> None:
    metadata = tokenizer_metadata(files(tmp_path), kind="gemma4", config={})
    assert list(metadata.items()) == list(CASE["metadata"].items())


def test_restored_files_are_read_as_the_same_keys(tmp_path: Path) -> None:
    metadata = tokenizer_metadata(files(tmp_path / "a"), kind="gemma4", config={})
    restored = restore_tokenizer(metadata, "gemma4")
    assert restored.notes == []
    back = tmp_path / "back"
    back.mkdir()
    for name, data in restored.files.items():
        (back / name).write_bytes(data)
    assert list(tokenizer_metadata(back, kind="gemma4", config={}).items()) == list(
        metadata.items()
    )


def test_it_encodes_as_llama_cpp_does(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    metadata = tokenizer_metadata(files(tmp_path), kind="gemma4", config={})
    assert self_test(tmp_path, metadata).n_probes
    merges = metadata["tokenizer.ggml.merges"]
    assert isinstance(merges, list)
    metadata["tokenizer.ggml.merges"] = [*merges[:3], *merges[4:]]
    with pytest.raises(TokenizerMismatchError, match="as Gemma 4"):
        self_test(tmp_path, metadata)


@pytest.mark.parametrize("part", ["decoder", "model"])
def test_another_kind_of_tokenizer_is_refused(tmp_path: Path, part: str) -> None:
    tokenizer = {**CASE["files"]["tokenizer"]}
    tokenizer[part] = {**tokenizer[part], "type": "Unigram"}
    with pytest.raises(UnknownTokenizerError, match="falls back to bytes"):
        tokenizer_metadata(files(tmp_path, tokenizer=tokenizer), kind="gemma4", config={})
