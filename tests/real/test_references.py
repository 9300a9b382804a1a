"""What llama.cpp computes on converted files against what transformers' own class computes.

`tests.architectures.references` says which checkpoints these are. ``references.json`` has a case
for every one of ``converted``, but for those of `NOT_COMPARED`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from ggufkit.architectures import llama as llama_models
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.transforms import IDENTITY
from tests.architectures.references import (
    FOLDER,
    NOT_COMPARED,
    PROMPT,
    REFERENCES,
    read_case,
    write_case,
)
from tests.real.llama_values import compute
from tests.toolbox.tiny_models import byte_vocabulary

CASES = json.loads(REFERENCES.read_text())

#: The largest error, in standard deviations of the reference: float32 all the way.
TOLERANCE = 2e-4

#: Of models with GELU, which is a table of float16 in ggml.
GELU_TOLERANCE = 1e-2
GELU = {
    *("bert", "bloom", "distilbert", "distilbert-classifier", "distilbert-mlm"),
    *("embeddinggemma", "falcon", "falcon-40b", "gemma", "gemma2", "gemma3", "gemma3-vision"),
    *("gemma4-moe", "gemma4-saved", "gemma4_unified"),
    *("gpt2", "gpt_bigcode", "gpt_neox", "mpt", "mt5", "phi", "roberta", "starcoder2"),
    *("t5-gated", "t5encoder", "umt5", "xlm-roberta"),
}

#: Others, and why.
TOLERANCES = {
    # It has one score only, and that depends on little.
    "xlm-roberta-classifier": 1e-3,
    # The deviation that its sparsity is measured in has one degree of freedom less.
    "gemma3n-text": 0.25,
    # Attention that is not scaled magnifies what GELU rounds: with the same table in transformers'
    # place the first is within 7e-5.
    "gemma4-e2b": 0.2,
    "gemma4-dense": 2e-2,
}

#: How many times larger llama.cpp's logits are, see docs/architectures.md.
SCALED = {"falcon_h1-plain": 5.5 / 0.0390625, "t5": 8.0, "umt5": 8.0}


def vocabulary(case: dict[str, Any]) -> Metadata:
    metadata = byte_vocabulary(case["n_tokens"])
    tokens = [*metadata["tokenizer.ggml.tokens"]]
    metadata["tokenizer.ggml.tokens"] = [*tokens[:-1], "<|endoftext|>"]  # asked for in a Phi 3
    metadata["tokenizer.ggml.token_type_count"] = case["config"].get("type_vocab_size", 2)
    return metadata


def make_file(name: str, folder: Path) -> Path:
    """Convert a case to F32 and return the file."""
    checkpoint, out = write_case(name, folder), folder / f"{name}.gguf"
    made = vocabulary(read_case(name))
    with mock.patch.object(checkpoint_source, "tokenizer_metadata", return_value=made):
        convert(checkpoint, out, ladder="F32")
    return out


def error(name: str, found: list[float] | str) -> float:
    """Return the largest error, in standard deviations of what is expected; of few scores as is."""
    assert not isinstance(found, str), found
    expected = np.array(CASES[name]["values"])
    got = np.array(found)[: expected.size]
    if name in SCALED:
        expected, got = (expected - expected.mean()) * SCALED[name], got - got.mean()
    spread = 1.0 if CASES[name]["kind"] == "score" else expected.std()
    return float(np.abs(got - expected).max() / spread)


def tolerance(name: str) -> float:
    return TOLERANCES.get(name, GELU_TOLERANCE if name in GELU else TOLERANCE)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What llama.cpp computes on each case, and on the prompt with two tokens exchanged."""
    pytest.importorskip("xllamacpp")
    folder = tmp_path_factory.mktemp("references")
    *rest, second, first, last = PROMPT
    requests = []
    for name, case in CASES.items():
        path = str(make_file(name, folder))
        requests += [
            (path, case["kind"], PROMPT),
            (path, case["kind"], [*rest, first, second, last]),
        ]
    found = compute(requests)
    return {name: found[2 * i : 2 * i + 2] for i, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_llama_cpp_computes_what_the_model_computes(name: str, computed: dict[str, Any]) -> None:
    right, _ = computed[name]
    assert error(name, right) < tolerance(name)


@pytest.mark.parametrize("name", CASES)
def test_the_comparison_sees_the_order_of_tokens(name: str, computed: dict[str, Any]) -> None:
    _, exchanged = computed[name]
    assert error(name, exchanged) > 2 * tolerance(name)


def test_the_comparison_sees_a_wrong_order_of_rows(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    weights = tuple(
        weight.__class__(weight.name, weight.source, lambda _: IDENTITY, weight.optional)
        for weight in llama_models.LLAMA.weights
    )
    with mock.patch.dict(llama_models.LLAMA.__dict__, weights=weights):
        path = make_file("llama", tmp_path)
    (found,) = compute([(str(path), "decoder", PROMPT)])
    assert error("llama", found) > 0.1


def test_every_case_is_compared_or_said_not_to_be() -> None:
    converted = {path.stem for path in (FOLDER / "converted").glob("*.json")}
    assert converted == CASES.keys() | NOT_COMPARED.keys()
    assert not CASES.keys() & NOT_COMPARED.keys()
