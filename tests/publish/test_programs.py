"""llama.cpp's programs on the PATH: scripts stand in that print what the real ones printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggufkit.errors import LlamaCppError
from ggufkit.publish import evaluate
from ggufkit.publish.llama_cpp import api as llama_cpp_api

# Of llama-perplexity with -c 512 --chunks 4, October 2026.
BASE = """\
0.02.664.565 I perplexity: 2.38 seconds per pass - ETA 0.03 minutes
[1]30.3312,[2]33.9335,[3]38.7340,[4]32.7976,
0.02.908.583 I Final estimate: PPL = 32.7976 +/- 3.21391
"""
COMPARED = """\
chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS
   1      47.5581 ±    8.6519       0.44978 ±    0.06022       0.48062 ±    0.01676    14.961 ±
   2      50.0030 ±    6.6171       0.38771 ±    0.04397       0.46999 ±    0.01201    15.385 ±
   3      54.1111 ±    5.9011       0.33430 ±    0.03608       0.47111 ±    0.01098    15.555 ±
   4      48.6319 ±    4.6024       0.39392 ±    0.03117       0.48320 ±    0.00976    15.853 ±

====== Perplexity statistics ======
Mean PPL(Q)                   :  48.631881 ±   4.602357
Mean PPL(base)                :  32.797596 ±   3.213905

====== KL divergence statistics ======
Mean    KLD:   0.483198 ±   0.009759
Same top p: 61.275 ± 1.526 %
"""


def program(folder: Path, name: str, code: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch) -> Path:
    """The only folder on the PATH besides the system's; and no package."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(llama_cpp_api, "library_path", lambda: None)
    return tmp_path / "bin"


def test_a_prompt_goes_to_llama_completion(path: Path, tmp_path: Path) -> None:
    program(path, "llama-completion", f'echo "$@" > {tmp_path}/args; printf " Paris."')
    said = evaluate.generate(tmp_path / "m.gguf", "The capital", n_predict=4)
    assert said == evaluate.Generation(" Paris.")
    assert f"-m {tmp_path}/m.gguf -p The capital -n 4" in (tmp_path / "args").read_text()


def test_a_text_goes_to_llama_perplexity(path: Path, tmp_path: Path) -> None:
    program(path, "llama-completion", "exit 1")
    (tmp_path / "base").write_text(BASE)
    (tmp_path / "compared").write_text(COMPARED)
    compare, otherwise = f"cat {tmp_path}/compared", f"cat {tmp_path}/base >&2"
    code = f'case "$*" in *--kl-divergence) {compare};; *) {otherwise};; esac'
    program(path, "llama-perplexity", code)
    assert evaluate.measure("a.gguf", ["b.gguf"], "text", n_chunks=4) == [
        evaluate.Quality(32.7976, 1020),
        evaluate.Quality(48.631881, 1020, 0.483198, 0.009759, pytest.approx(0.61275)),
    ]


def test_what_a_program_says_last_is_the_reason(path: Path, tmp_path: Path) -> None:
    program(path, "llama-cli", "echo first >&2; echo 'unknown architecture' >&2; exit 1")
    with pytest.raises(LlamaCppError, match=r"m\.gguf: llama-cli failed: unknown architecture"):
        evaluate.generate(tmp_path / "m.gguf", "x")


def test_without_any_llama_cpp_the_advice_is_to_install_one(path: Path, tmp_path: Path) -> None:
    with pytest.raises(LlamaCppError, match=r"pip install 'ggufkit\[run\]'"):
        evaluate.generate(tmp_path / "m.gguf", "x")
    program(path, "llama-completion", "exit 0")
    with pytest.raises(LlamaCppError, match="llama-perplexity on the PATH"):
        evaluate.measure("a.gguf", [], "x")
