"""Tiny files of every architecture, loaded and computed with by the real llama.cpp.

`tests/architectures/refused.json` says which of them it does not take, and why; the package claims
``llama.cpp`` of the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ggufkit.architectures.from_gguf_py import UNVERIFIED_KEY
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.gguf.reader import GGUFFile
from tests.architectures.test_converted import CASES, allow_all, write_case
from tests.architectures.vocabulary import vocabulary
from tests.real.llama_loads import load_and_run

REFUSED = json.loads((Path(__file__).parents[1] / "architectures" / "refused.json").read_text())


def test_llama_cpp_computes_with_all_files_but_those_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    files = []
    for name, path in CASES.items():
        case = json.loads(path.read_text())
        tokens = vocabulary(case["n_tokens"], case["config"])
        monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, t=tokens, **__: t)
        allow_all(name, monkeypatch)
        write_case(tmp_path / "checkpoints" / name, case)
        files.append(tmp_path / f"{name}.gguf")
        convert(tmp_path / "checkpoints" / name, files[-1], ladder="BF16", self_test=False)
    results = load_and_run(files)
    refused = {Path(name).stem: why for name, why in results.items() if why != "ok"}
    assert refused.keys() <= REFUSED.keys(), refused
    assert len(results) == len(CASES)


def test_llama_cpp_passes_over_the_mark_of_generic_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    case = json.loads(CASES["olmo2"].read_text())
    case["config"]["architectures"] = ["NobodyKnowsForCausalLM"]
    tokens = vocabulary(case["n_tokens"], case["config"])
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: tokens)
    write_case(tmp_path / "model", case)
    file = tmp_path / "generic.gguf"
    convert(tmp_path / "model", file, ladder="BF16", self_test=False, generic=True)
    with GGUFFile.open(file) as model:
        assert model.metadata[UNVERIFIED_KEY] is True
    assert load_and_run([file]) == {"generic.gguf": "ok"}
