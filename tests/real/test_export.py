"""A real GGUF file, made a checkpoint and converted again: the same model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ggufkit import dequantize, export_hf
from ggufkit.checkpoint import Checkpoint
from ggufkit.converter.ladder import convert
from ggufkit.gguf.open import open_gguf
from tests.real.bert import embed
from tests.real.llama_cpp import ask

TEXT = "Cats sleep most of the day."
# What a conversion leaves out of a BERT.
IGNORED = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
PROMPTS = ("The capital of France is", "Once upon a time, there was a", "def fibonacci(n):\n")


@pytest.fixture(scope="module")
def again(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return what the exported checkpoint becomes."""
    folder = tmp_path_factory.mktemp("again")
    command = [sys.executable, "-m", "ggufkit.cli.main", "export-hf", smollm2, folder / "back"]
    subprocess.run([*command, "-q"], check=True, capture_output=True)
    ladder = convert(folder / "back", folder, ladder="Q4_1,F32")
    assert ladder.plan.source.self_test.n_probes > 40
    return {r.name: p for r, p in zip(ladder.plan.rungs, ladder.paths, strict=True)}


def test_smollm2_comes_back_with_the_same_tensors(smollm2: Path, again: dict[str, Path]) -> None:
    with open_gguf(smollm2) as one, open_gguf(again["Q4_1"]) as two:
        assert set(one) == set(two)
        for name in one:
            assert one[name].info.type == two[name].info.type
            np.testing.assert_array_equal(one[name].data, two[name].data, name)
    with open_gguf(smollm2) as one, open_gguf(again["F32"]) as two:
        for name in one:
            values, same = dequantize(one[name]), dequantize(two[name])
            np.testing.assert_array_equal(values.view("u4"), same.view("u4"), name)


def test_smollm2_comes_back_with_the_same_keys(smollm2: Path, again: dict[str, Path]) -> None:
    with open_gguf(smollm2) as one, open_gguf(again["Q4_1"]) as two:
        lost = {key for key in one.metadata if one.metadata[key] != two.metadata.get(key)}
        added = set(two.metadata) - set(one.metadata)
    assert not lost
    assert added == {"llama.attention.key_length", "llama.attention.value_length"}


def test_smollm2_says_the_same(smollm2: Path, again: dict[str, Path]) -> None:
    for prompt in PROMPTS:
        said = ask("complete", prompt, [smollm2, *again.values()])
        assert len(set(said.values())) == 1, said
        assert said[smollm2.name]


def test_minilm_comes_back_as_it_was(minilm: Path, tmp_path: Path) -> None:
    ladder = convert(minilm, tmp_path / "one", ladder="F32")
    back = export_hf(ladder.paths[0], tmp_path / "model")  # whose name says nothing
    old, new = Checkpoint.open(minilm), Checkpoint.open(back)
    assert set(old.tensors) - set(new.tensors) == IGNORED
    for name in new.tensors:
        assert old.tensors[name].dtype == new.tensors[name].dtype
        np.testing.assert_array_equal(old.read(name).view("u4"), new.read(name).view("u4"), name)
    again = convert(back, tmp_path / "two", ladder="F32")
    with open_gguf(ladder.paths[0]) as one, open_gguf(again.paths[0]) as two:
        assert dict(one.metadata) == dict(two.metadata)
    assert ladder.paths[0].read_bytes() == again.paths[0].read_bytes()
    np.testing.assert_array_equal(embed(minilm, TEXT), embed(back, TEXT))
