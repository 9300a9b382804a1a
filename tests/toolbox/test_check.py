"""Every planted fault is found, and nothing is where nothing was planted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import pytest

import ggufkit
from ggufkit.rules.rule import Severity
from ggufkit.rules.shapes import EMBEDDINGS
from ggufkit.toolbox.checks.rules import GROUPS, RULES
from tests import build
from tests.toolbox import faults_metadata, faults_structure, faults_tokenizer
from tests.toolbox.faults import FAULTS, Fault, sound

FILLED_BY = (faults_structure, faults_metadata, faults_tokenizer)  # they fill the list


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files and return the first one's path."""
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder / next(iter(files))


@pytest.mark.parametrize("tokenizer", ["llama", "gpt2"])
def test_nothing_is_found_in_a_sound_model(tmp_path: Path, tokenizer: str) -> None:
    model = sound(tokenizer)
    assert ggufkit.check(put(tmp_path, {model.name: model.build()})) == []


def test_nothing_is_found_in_a_sound_split(tmp_path: Path) -> None:
    files = faults_structure.split_files(faults_structure.parts_of(sound(), 3))
    for name in files:
        put(tmp_path, files)
        assert ggufkit.check(tmp_path / name) == []


def test_nothing_is_found_in_a_sound_quantized_model(tmp_path: Path) -> None:
    model = sound()
    faults_metadata.quantized(model)
    assert ggufkit.check(put(tmp_path, {model.name: model.build()})) == []


def test_nothing_is_found_in_an_imatrix_or_an_adapter(tmp_path: Path) -> None:
    kinds = {"imatrix": [], "adapter": [build.pair("general.architecture", build.STR, "llama")]}
    for kind, pairs in kinds.items():
        pairs = [*pairs, build.pair("general.type", build.STR, kind)]
        infos = [build.tensor("blk.0.ffn_up.weight.in_sum2", [8], 0, 0)]
        files = {f"{kind}.gguf": build.file(pairs, infos, b"\1" * 32)}
        assert ggufkit.check(put(tmp_path, files)) == []


@pytest.mark.parametrize(
    ("architecture", "name", "shape"),
    [
        ("flux", "double_blocks.0.img_attn.qkv.weight", [8, 3]),
        ("wan", "blocks.0.self_attn.norm_q.weight", [8]),
        ("lumina2", "blk.0.attention.qkv.weight", [8, 3]),
        ("whisper", "encoder.blocks.0.attn.query.weight", [8, 8]),
        ("", "model.diffusion_model.input_blocks.0.0.weight", [3, 3, 4, 8]),
    ],
)
def test_no_rule_of_llama_cpp_is_asked_about_other_programs_models(
    tmp_path: Path, architecture: str, name: str, shape: list[int]
) -> None:
    pairs = [build.pair("general.architecture", build.STR, architecture)] if architecture else []
    infos = [build.tensor(name, shape, 0, 0)]
    file = build.file(pairs, infos, bytes(4 * prod(shape)) + bytes(-4 * prod(shape) % 32))
    found = ggufkit.check(put(tmp_path, {"model.gguf": file}), weights=False)
    assert all(finding.severity < Severity.ERROR for finding in found), found
    # yet that llama.cpp does not load it is said
    said = {finding.rule for finding in found}
    assert said & {"unknown-architecture", "missing-architecture"}, found


@pytest.mark.parametrize(
    ("name", "metadata"),
    [("blk.0.attn_q.weight", []), ("x.weight", ["tokenizer.ggml.model"]), (EMBEDDINGS, [])],
)
def test_a_model_for_llama_cpp_needs_an_architecture(
    tmp_path: Path, name: str, metadata: list[str]
) -> None:
    pairs = [build.pair(key, build.STR, "llama") for key in metadata]
    file = build.file(pairs, [build.tensor(name, [8], 0, 0)], bytes(32))
    found = ggufkit.check(put(tmp_path, {"model.gguf": file}), weights=False)
    assert ("missing-architecture", Severity.ERROR) in {(f.rule, f.severity) for f in found}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_is_found_and_nothing_else(tmp_path: Path, fault: Fault) -> None:
    found = ggufkit.check(put(tmp_path, fault.make()))
    rules = {finding.rule for finding in found}
    assert fault.rule in rules, found
    assert rules - {fault.rule} == fault.also, found


# llama.cpp takes these; the specification and other readers do not.
STRICTER = {"key_65536_bytes", "tensor_name_empty"}


def test_what_llama_cpp_refuses_to_read_is_an_error(oracle: Path, tmp_path: Path) -> None:
    script = oracle / "malformed" / "make_malformed.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, stdout=subprocess.DEVNULL)
    cases = json.loads((oracle / "malformed" / "expected.json").read_text())
    cases = cases.get("cases", cases)
    structure = {rule.id for rule in GROUPS["structure"]}
    for path in sorted(tmp_path.glob("*.gguf")):
        verdict = cases[path.stem]
        errors = {
            found.rule
            for found in ggufkit.check(path)
            if found.rule in structure and found.severity is Severity.ERROR
        }
        if verdict["gguf_init_meta"] != "accept":
            assert errors, path.stem
        elif verdict["gguf_init_data"] == "accept":
            assert bool(errors) == (path.stem in STRICTER), (path.stem, errors)


def test_there_are_many_faults_and_each_rule_has_one() -> None:
    assert len(FAULTS) >= 30
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert {rule.id for rule in RULES} == {fault.rule for fault in FAULTS}


@pytest.mark.slow
def test_many_endless_templates_take_no_longer_than_one(tmp_path: Path) -> None:
    model = sound()
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    for i in range(200):
        model.pairs[f"tokenizer.chat_template.t{i}"] = (build.STR, loop)
    start = time.monotonic()
    found = ggufkit.check(put(tmp_path, {model.name: model.build()}), weights=False)
    assert [finding.rule for finding in found] == ["template-limit"]
    assert time.monotonic() - start < 20


def test_a_header_of_many_names_takes_no_time_in_their_square(tmp_path: Path) -> None:
    names = [f"blk.{i}.x{i}.weight" for i in range(20_000)]
    pairs = [build.pair("general.architecture", build.STR, "llama")]
    infos = [build.tensor(name, [8], 0, i % 7 * 4) for i, name in enumerate(names)]
    start = time.monotonic()
    found = ggufkit.check(put(tmp_path, {"x.gguf": build.file(pairs, infos, bytes(99))}))
    assert {"unaligned-data", "overlapping-data"} <= {finding.rule for finding in found}
    assert time.monotonic() - start < 10


def test_the_page_lists_the_rules() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+) \| (`--fix`)? \|$", page, re.MULTILINE)
    table = [(r.id, r.severity.word, r.title, "`--fix`" if r.fixable else "") for r in RULES]
    assert rows == table


def test_the_ids_of_rules_are_unique() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
