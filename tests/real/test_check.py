"""`check` on real models, and what the real llama.cpp says to faulty files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ggufkit
from ggufkit.rules.rule import Finding, Severity
from ggufkit.toolbox.checks.engine import fix
from ggufkit.toolbox.checks.rules import RULES
from tests.llama import write_llama
from tests.toolbox import faults_metadata, faults_structure, faults_tokenizer
from tests.toolbox.faults import FAULTS, Fault, sound

FILLED_BY = (faults_structure, faults_metadata, faults_tokenizer)  # they fill the list

FIXABLE = {rule.id for rule in RULES if rule.fixable}

LOAD = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = params.n_batch = params.n_ubatch = 64
params.n_parallel, params.warmup, params.verbosity = 1, False, -1
xllamacpp.Server(params).handle_completions({"prompt": "word1", "n_predict": 1})
print("loaded")
"""

# Errors that llama.cpp does not look for: it loads the file, and what it says is wrong, or it
# stops when it comes to the place.
SHOWS_LATER = {
    *("rope-base", "token-id-range", "byte-token-form", "template-fails", "template-drops"),
    "not-finite",
}
# Warnings and notes about files that llama.cpp refuses: others may know better, or want no model.
REFUSED = {"unknown-architecture", "no-tensors"}


def loads(path: Path) -> bool:
    """Whether llama.cpp loads a model and predicts a token."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", LOAD, path],
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return "loaded" in done.stdout


def worth_a_look(path: Path) -> list[Finding]:
    return [found for found in ggufkit.check(path) if found.severity > Severity.NOTE]


def test_nothing_is_found_in_smollm2(smollm2: Path) -> None:
    assert worth_a_look(smollm2) == []


def test_nothing_is_found_in_a_ladder_of_minilm(minilm: Path, tmp_path: Path) -> None:
    for path in ggufkit.convert(minilm, tmp_path, ladder="Q2_K,Q4_K_M,Q8_0,F16").paths:
        assert ggufkit.check(path) == []


def test_nothing_is_found_in_a_ladder_of_a_tiny_llama(tmp_path: Path) -> None:
    source = write_llama(tmp_path / "tiny")
    for path in ggufkit.convert(source, tmp_path / "out", ladder="Q4_K_M,Q6_K,Q8_0,BF16,F32").paths:
        assert worth_a_look(path) == []


def test_nothing_is_found_in_llama_cpps_vocabularies(oracle: Path) -> None:
    paths = sorted((oracle / "tokenizers").glob("*.gguf"))
    assert paths
    for path in paths:
        assert [found.rule for found in ggufkit.check(path)] == ["no-tensors"]


@pytest.mark.parametrize("tokenizer", ["llama", "gpt2"])
def test_llama_cpp_loads_the_sound_models(tmp_path: Path, tokenizer: str) -> None:
    pytest.importorskip("xllamacpp")
    model = sound(tokenizer)
    path = tmp_path / model.name
    path.write_bytes(model.build())
    assert loads(path)


# llama.cpp takes long to load 64 Mi items, and for ever to render an endless template.
QUICK = [fault for fault in FAULTS if fault.name not in ("64_mi_items", "endless")]


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_llama_cpp_refuses_what_is_called_an_error(fault: Fault, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    files = fault.make()
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    path = tmp_path / next(iter(files))
    severities = [f.severity for f in ggufkit.check(path) if f.rule == fault.rule]
    if max(severities) is Severity.ERROR:
        assert fault.rule in SHOWS_LATER or not loads(path)
    else:
        assert fault.rule in REFUSED or loads(path)


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f.rule in FIXABLE], ids=lambda fault: fault.name
)
def test_llama_cpp_loads_what_was_fixed(fault: Fault, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    files = fault.make()
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    path = tmp_path / next(iter(files))
    fix(ggufkit.check(path))
    assert loads(path) == (not any(f.severity is Severity.ERROR for f in ggufkit.check(path)))
