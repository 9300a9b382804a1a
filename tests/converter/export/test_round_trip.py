"""Checkpoint -> GGUF F32 -> checkpoint -> GGUF F32: the tensors of both kinds come back.

All cases of ``tests/models/converted`` and all checkpoints of the oracle.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggufkit import JoinedFile
from ggufkit.checkpoint import Checkpoint
from ggufkit.converter import from_checkpoint
from ggufkit.converter.export.plan import plan_export
from ggufkit.converter.export.write import export_hf
from ggufkit.converter.from_checkpoint import CheckpointSource
from ggufkit.converter.ladder import convert
from ggufkit.gguf.joined import open_gguf
from ggufkit.gguf.metadata import Metadata
from ggufkit.models import find_architecture
from ggufkit.models.matching import canonical_name
from tests.converter.test_oracle import MODELS, pre_of
from tests.models.checkpoints import write_checkpoint
from tests.models.test_converted import CASES

# Of sources that do not come back as they were, and why. Their GGUF tensors still do.
REGROUPED = {
    "qwen2_moe-fused": "experts come back as published checkpoints have them: one tensor each",
    "qwen3_5_moe-vision-fused": "the same",
    "gpt_oss-mxfp4": "MXFP4 blocks come back as the 16-bit weights that they stand for",
}
# Rows that the converter drops are not in the file: of case, tensors, vocabulary.
DROPPED_ROWS = ("gemma3-vision", "model.embed_tokens.weight", 300)
ADDED_ROWS = {
    "gemma3n": "tokens of pictures and sound have rows of zeros in the file",
    "gemma3n-text": "the same",
}
# Rows that llama.cpp's converter drops come back as zeros.
ZEROED_ROWS = {
    "roberta": "positions of padding",
    "xlm-roberta": "the same",
    "xlm-roberta-classifier": "the same",
}
# The type of a GGUF tensor that changes, of those whose values stay.
WIDENED = {"gpt_oss-mxfp4": "the blocks were dequantized"}
# Of a tensor that a checkpoint may have under several names, the first comes back.
COPIES = {"t5": {"decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "shared.weight"}}
# What an export notes, where it is more than nothing.
NOTES = {"mixtral": ("there is no tokenizer.json: the file has no scores",)}

MODEL_OF_KIND = {
    **dict.fromkeys(("xlm_roberta", "nomic_moe", "t5"), "t5"),
    **dict.fromkeys(("bert", "jina"), "bert"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_converted_case_comes_back(name: str, tmp_path: Path, monkeypatch) -> None:
    round_trip(name, json.loads(CASES[name].read_text()), tmp_path, monkeypatch)


def test_embeddings_beyond_the_vocabulary_stay_dropped(tmp_path: Path, monkeypatch) -> None:
    name, tensor, n_tokens = DROPPED_ROWS
    case = {**json.loads(CASES[name].read_text()), "n_tokens": n_tokens}
    round_trip(name, case, tmp_path, monkeypatch, dropped=tensor)


def round_trip(name: str, case: dict, tmp_path: Path, monkeypatch, dropped: str = "") -> None:
    kind = find_architecture(case["config"]).tokenizer
    vocabulary = Metadata(
        {
            "tokenizer.ggml.model": MODEL_OF_KIND.get(kind, "gpt2"),
            "tokenizer.ggml.tokens": [f"token {i}" for i in range(case["n_tokens"])],
        }
    )
    monkeypatch.setattr(from_checkpoint, "tokenizer_metadata", lambda *_, **__: vocabulary)
    source = tmp_path / name
    write_checkpoint(source, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (source / path).parent.mkdir(exist_ok=True)
        (source / path).write_text(json.dumps(content))
    check(name, source, tmp_path, dropped=dropped)


@pytest.mark.parametrize("name", MODELS)
def test_every_checkpoint_of_the_oracle_comes_back(oracle: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    script = oracle / "checkpoints" / "materialize.py"
    subprocess.run([sys.executable, script, name, source], check=True, stdout=subprocess.DEVNULL)
    check(name, source, tmp_path, pre=pre_of(oracle, name))
    notes = plan_export(tmp_path / "first.gguf").notes
    expected = NOTES.get(name, ())
    assert len(notes) == len(expected)
    assert all(note.startswith(start) for note, start in zip(notes, expected, strict=True))


def check(name: str, source: Path, folder: Path, *, dropped: str = "", **options: Any) -> None:
    first, second = folder / "first.gguf", folder / "second.gguf"
    convert(source, first, ladder="F32", self_test=False, **options)
    back = export_hf(first, folder / "back")
    convert(back, second, ladder="F32", self_test=False)
    with open_gguf(first) as one, open_gguf(second) as two:
        assert_same_tensors(one, two, widened=name in WIDENED)
        prefix = f"{one.metadata['general.architecture']}."
        assert keys(one, prefix) == keys(two, prefix)
        assert keys(one, "tokenizer.") == keys(two, "tokenizer.")
    assert_same_sources(name, consumed(source, **options), consumed(back), dropped)


def keys(file: JoinedFile, prefix: str) -> dict[str, Any]:
    return {key: value for key, value in file.metadata.items() if key.startswith(prefix)}


def assert_same_tensors(one: JoinedFile, two: JoinedFile, *, widened: bool) -> None:
    assert set(one) == set(two)
    for name in one:
        assert one[name].info.shape == two[name].info.shape, name
        if widened and one[name].info.type != two[name].info.type:
            continue
        assert one[name].info.type == two[name].info.type, name
        assert np.array_equal(one[name].data, two[name].data), name


Tensors = dict[str, tuple[Checkpoint, str]]


def assert_same_sources(name: str, old: Tensors, new: Tensors, dropped: str) -> None:
    if name in REGROUPED:
        assert set(old) != set(new)
        return
    if name in COPIES:
        (copy,), (first,) = COPIES[name] & set(old), COPIES[name] & set(new)
        new[copy] = new.pop(first)
    assert set(old) == set(new)
    for key, (checkpoint, tensor) in old.items():
        other, its = new[key]
        values, again = checkpoint.read(tensor), other.read(its)
        if key == dropped:
            assert len(again) < len(values)
            values = values[: len(again)]
        if name in ADDED_ROWS and len(again) != len(values):
            assert not again[len(values) :].any()
            again = again[: len(values)]
        if name in ZEROED_ROWS and "position_embeddings" in key:
            assert not again[:2].any()
            values, again = values[2:], again[2:]
        np.testing.assert_array_equal(bits(values), bits(again), key)
        dtypes = {checkpoint.tensors[tensor].dtype, other.tensors[its].dtype}
        # a float32 tensor whose values are all bfloat16's comes back as that
        assert len(dtypes) == 1 or "F32" in dtypes, key


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def consumed(folder: Path, **options: Any) -> Tensors:
    """Return the tensors that a conversion reads, by their names without wrappers' prefixes."""
    checkpoint = Checkpoint.open(folder)
    source = CheckpointSource.open(checkpoint, **options)
    names = [name for mapped in source.mapped.values() for name in mapped.sources]
    return {
        canonical_name(source.architecture, source.config, name): (checkpoint, name)
        for name in names
    }
