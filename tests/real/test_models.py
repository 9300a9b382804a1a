"""Ladders of real models, loaded and run by the real llama.cpp."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ggufkit.converter.ladder import convert
from tests.real.bert import embed
from tests.real.llama_cpp import ask

TEXT = "A ladder of files, from two bits to eight, all made in one pass over the weights."
PROMPT = "The capital of France is"

# Requantized from Q4_1, this file says " capital": so does llama-quantize's own, whose bytes it
# has. Every other rung of 4 bits and more says " Paris".
KNOWN_WEAK = {"Q4_0"}


def test_minilm_becomes_a_ladder_in_one_command_and_embeds(minilm: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ggufkit.cli.main", "convert", minilm, "-o", tmp_path]
    done = subprocess.run(
        [*command, "--ladder", "Q2_K:F32"], check=True, capture_output=True, text=True
    )
    files = {path.stem.rsplit("-", 1)[-1]: path for path in tmp_path.glob("*.gguf")}
    assert len(files) == 17
    assert all(name in done.stdout for name in files)

    reference = embed(minilm, TEXT)
    answers = ask("embed", TEXT, [files["F32"], files["F16"], files["Q8_0"], files["Q4_K_M"]])
    cosines = {}
    for name, vector in answers.items():
        unit = np.array(vector) / np.linalg.norm(vector)
        cosines[name.rsplit("-", 1)[-1].removesuffix(".gguf")] = float(unit @ reference)
    assert cosines["F32"] >= 0.999, cosines
    assert cosines["F16"] >= 0.999, cosines
    assert cosines["Q8_0"] >= 0.99, cosines
    assert cosines["Q4_K_M"] >= 0.97, cosines


@pytest.fixture(scope="module")
def smollm2_ladder(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("smollm2")
    ladder = convert(smollm2, out, ladder="Q2_K:F16", allow_requantize=True)
    paths = zip(ladder.plan.rungs, ladder.paths, strict=True)
    return {rung.name: path for rung, path in paths}


def test_smollm2_still_knows_the_capital_of_france(smollm2_ladder: dict[str, Path]) -> None:
    answers = ask("complete", PROMPT, list(smollm2_ladder.values()))
    by_name = {name: answers[path.name] for name, path in smollm2_ladder.items()}
    assert all(by_name.values()), by_name  # every rung loads and says something
    expected = {
        name for name in by_name if not name.startswith(("Q2", "Q3")) and name not in KNOWN_WEAK
    }
    assert len(expected) >= 10
    assert {name for name in expected if by_name[name].startswith(" Paris")} == expected, by_name


def test_a_split_ladder_loads(smollm2: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ggufkit.cli.main", "convert", smollm2, "-o", tmp_path, "-q"]
    options = ["--ladder", "Q4_K_M", "--allow-requantize", "--split-max-size", "40M"]
    subprocess.run([*command, *options], check=True, capture_output=True)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 3
    assert ask("complete", PROMPT, parts[:1])[parts[0].name].startswith(" Paris")
