"""llama.cpp computes with an output of its own in families whose output is usually tied.

The output is the embeddings times two, exactly: so have to be the logits.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ggufkit
from ggufkit.checkpoint.safetensors import read_header
from ggufkit.converter.ladder import convert
from ggufkit.converter.sources import checkpoint as checkpoint_source
from ggufkit.types import TensorType
from tests.architectures.references import PROMPT
from tests.architectures.test_converted import CASES, write_case
from tests.architectures.vocabulary import vocabulary
from tests.real.llama_loads import load_and_run
from tests.real.llama_values import compute
from tests.toolbox.tiny_models import byte_vocabulary

NAMES = ("gemma3", "gemma3-vision", "mamba")


def make_file(folder: Path, name: str, times: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Convert a case whose output is its embeddings times one or two."""
    case = json.loads(CASES[name].read_text())
    made = byte_vocabulary(case["n_tokens"])
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: made)
    ends = ("embed_tokens.weight", "backbone.embeddings.weight")
    embeddings = next(n for n in case["checkpoint"] if n.endswith(ends))
    head = "language_model." * embeddings.startswith("language_model.") + "lm_head.weight"
    case["checkpoint"][head] = case["checkpoint"][embeddings]
    write_case(folder / f"{name}-{times}", case)
    path = folder / f"{name}-{times}" / "model.safetensors"
    one, two = (read_header(path)[n] for n in (embeddings, head))
    raw = np.fromfile(path, np.uint8)
    exact = raw[one.offset :][: one.nbytes].view("<u2") + np.uint16(0x80 * (times - 1))
    raw[two.offset :][: two.nbytes] = exact.view(np.uint8)
    raw.tofile(path)
    out = folder / f"{name}-{times}.gguf"
    convert(path.parent, out, ladder="F32", self_test=False)
    return out


def test_logits_are_those_of_the_models_own_output(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("xllamacpp")
    files = [make_file(tmp_path, name, n, monkeypatch) for name in NAMES for n in (1, 2)]
    found = compute([(str(path), "decoder", PROMPT) for path in files])
    for name, tied, own in zip(NAMES, found[::2], found[1::2], strict=True):
        assert not isinstance(tied, str), (name, tied)
        assert not isinstance(own, str), (name, own)
        one, two = (np.array(values) - np.mean(values) for values in (tied, own))
        assert one.std() > 0
        np.testing.assert_allclose(two, 2 * one, atol=2e-4 * one.std())


@pytest.mark.parametrize("name", ["gemma", "gemma2", "cohere", "cohere2"])
def test_llama_cpp_does_not_load_what_is_refused(name: str, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("xllamacpp")
    case = json.loads(CASES[name].read_text())
    made = vocabulary(case["n_tokens"], case["config"])
    monkeypatch.setattr(checkpoint_source, "tokenizer_metadata", lambda *_, **__: made)
    write_case(tmp_path / "m", case)
    convert(tmp_path / "m", tmp_path / "tied.gguf", ladder="F32", self_test=False)
    with ggufkit.open(tmp_path / "tied.gguf") as model:
        tensors = {n: (ggufkit.dequantize(model[n]), TensorType.F32) for n in model.tensors}
        tensors["output.weight"] = tensors["token_embd.weight"]
        ggufkit.save(tmp_path / "own.gguf", model.metadata, tensors)
    found = load_and_run([tmp_path / "tied.gguf", tmp_path / "own.gguf"])
    assert found["tied.gguf"] == "ok"
    assert found["own.gguf"] != "ok"
