"""`ggufkit run` and `ggufkit try` with the real llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ggufkit.cli.main import main
from ggufkit.converter.ladder import convert
from ggufkit.errors import LlamaCppError
from ggufkit.publish.evaluate import generate, measure
from ggufkit.publish.llama_cpp.worker import log_softmax
from tests.real.llama_cpp import ask

PROMPT = "The capital of France is"
# Prose that is at hand: the documentation.
TEXT = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).resolve().parents[2] / "docs").glob("[a-g]*.md"))
)


@pytest.fixture(scope="module")
def ladder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ladder")
    convert(smollm2, out, ladder="Q2_K,Q3_K_M,Q8_0,F16", allow_requantize=True)
    return out


def test_the_text_is_that_of_llama_cpps_server(smollm2: Path) -> None:
    heard: list[str] = []
    said = generate(smollm2, PROMPT, n_predict=4, heard=heard.append)
    assert said.text == "".join(heard) == ask("complete", PROMPT, [smollm2])[smollm2.name]
    assert said.tokens_per_second
    assert said.load_seconds


def test_a_chat_is_put_as_the_template_says(smollm2: Path, capsys) -> None:
    command = ["run", str(smollm2), "-p", "Hello", "--system", "Be brief.", "-n", "2", "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["prompt"] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert told["text"]


def test_a_raw_prompt_is_left_alone(ladder: Path, capsys) -> None:
    assert main(["run", f"{ladder}:q8_0", "--raw", "-p", PROMPT, "-n", "1", "-q"]) == 0
    assert capsys.readouterr().out == " Paris\n"


def test_divergence_grows_down_the_ladder(ladder: Path, capsys) -> None:
    text = ladder / "text"
    text.write_text(TEXT, encoding="utf-8")
    command = ["try", str(ladder), "--text", str(text), "--chunks", "1", "-n", "2", "--json", "-q"]
    assert main(command) == 0
    told = {entry["file"].rsplit("-", 1)[1]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(told) == ["F16.gguf", "Q8_0.gguf", "Q3_K_M.gguf", "Q2_K.gguf"]
    assert told["F16.gguf"]["kl_divergence"] is None
    divergences = [entry["kl_divergence"] for entry in list(told.values())[1:]]
    assert 0 < divergences[0] < divergences[1] < divergences[2]
    same = [entry["same_top"] for entry in list(told.values())[1:]]
    assert same[0] > same[2] > 0
    assert all(entry["n_tokens"] == 255 for entry in told.values())


def test_a_model_does_not_diverge_from_itself(smollm2: Path) -> None:
    base, same = measure(smollm2, [smollm2], TEXT, n_chunks=1)
    assert same.kl_divergence == pytest.approx(0, abs=1e-6)
    assert same.same_top == 1
    assert same.perplexity == base.perplexity > 1


def test_a_text_shorter_than_a_chunk_is_refused(smollm2: Path) -> None:
    with pytest.raises(LlamaCppError, match="one chunk takes 512"):
        measure(smollm2, [], "too short")


def test_a_file_that_does_not_load_is_named_and_the_others_run(
    smollm2: Path, tmp_path: Path, capsys
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(smollm2.read_bytes()[:4096])
    assert main(["try", str(smollm2), str(broken), "-n", "1", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [entry["loads"] for entry in json.loads(out)] == [True, False]
    assert "broken.gguf: llama.cpp" in err


def test_log_softmax_is_that_of_the_definition() -> None:
    logits = np.random.default_rng(0).normal(0, 30, (5, 1000)).astype(np.float32)
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact - exact.max()).sum(1, keepdims=True)) + exact.max()
    np.testing.assert_allclose(log_softmax(logits), exact, rtol=1e-5, atol=1e-5)
