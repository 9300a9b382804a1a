"""Fixes, and the command: what it changes, prints and returns."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

import ggufkit
from ggufkit.cli.main import main
from ggufkit.errors import BadValueError, MissingFileError
from ggufkit.rules.rule import Severity
from ggufkit.toolbox.checks.engine import fix
from ggufkit.toolbox.checks.rules import RULES
from tests import build
from tests.toolbox import faults_metadata, faults_structure, faults_tokenizer
from tests.toolbox.faults import FAULTS, Fault, sound
from tests.toolbox.test_check import put

FILLED_BY = (faults_structure, faults_metadata, faults_tokenizer)  # they fill the list
FIXABLE = {rule.id for rule in RULES if rule.fixable}
CHANGES_TENSORS = {"tied-twice"}
# The fault is of a kind that has no safe fix.
NOT_THIS_ONE = {"head_count_as_text", "license_as_number", "special_looking_token"}
NOT_THIS_ONE |= {"swapped_parts", "wrong_total"}


def by_name(name: str) -> Fault:
    return next(fault for fault in FAULTS if fault.name == name)


def data_of(path: Path) -> dict[str, bytes]:
    """Return all tensors as gguf-py reads them."""
    return {t.name: np.asarray(t.data).tobytes() for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(
    "fault", [f for f in FAULTS if f.rule in FIXABLE], ids=lambda fault: fault.name
)
def test_a_fix_removes_the_fault_and_no_weight(fault: Fault, tmp_path: Path) -> None:
    path = put(tmp_path, fault.make())
    found = ggufkit.check(path)
    if fault.name in NOT_THIS_ONE:
        assert fix(found) == []
        return
    files = sorted(tmp_path.iterdir())
    before = [data_of(file) for file in files] if fault.name != "missing_padding" else None
    fix(found)
    assert ggufkit.check(path) == []
    assert sorted(tmp_path.iterdir()) == files
    if before is not None and fault.rule not in CHANGES_TENSORS:
        assert [data_of(file) for file in files] == before


@pytest.mark.slow
def test_only_rules_that_say_so_have_fixes(tmp_path: Path) -> None:
    for fault in FAULTS:
        folder = tmp_path / fault.name
        folder.mkdir()
        for found in ggufkit.check(put(folder, fault.make()), weights=False):
            assert found.fix is None or found.rule in FIXABLE, found
        shutil.rmtree(folder)


def test_a_dropped_output_is_the_embeddings_copy(tmp_path: Path) -> None:
    path = put(tmp_path, by_name("tied_twice").make())
    before = data_of(path)
    fix(ggufkit.check(path))
    del before["output.weight"]
    assert data_of(path) == before


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    for name in ("trailing_bytes", "tied_twice", "block_count_as_u64"):
        path = put(tmp_path, by_name(name).make())
        before = path.read_bytes()
        assert fix(ggufkit.check(path), dry_run=True)[0].how in ("rewritten", "in place")
        assert path.read_bytes() == before


def test_a_fix_is_not_offered_for_what_cannot_be_edited(tmp_path: Path) -> None:
    model = sound()
    del model.pairs["general.file_type"]
    model.moved["output_norm.weight"] = -64
    found = ggufkit.check(put(tmp_path, {model.name: model.build()}))
    assert {finding.rule for finding in found} == {"overlapping-data", "missing-file-type"}
    assert not any(finding.fix for finding in found)


def test_several_fixes_at_once(tmp_path: Path) -> None:
    model = sound()
    faults_metadata.quantized(model)
    del model.pairs["general.quantization_version"], model.pairs["general.file_type"]
    model.pairs["llama.context_length"] = (build.U64, 2048)
    path = put(tmp_path, {model.name: model.build() + bytes(64)})
    assert len(ggufkit.check(path)) == 4
    (done,) = fix(ggufkit.check(path))
    assert done.how == "rewritten"
    assert ggufkit.check(path) == []
    fields = gguf.GGUFReader(path).fields
    assert fields["general.file_type"].contents() == 7
    assert fields["general.quantization_version"].contents() == 2


def test_the_first_broken_weight_is_named(tmp_path: Path) -> None:
    (found,) = ggufkit.check(put(tmp_path, by_name("nan_weight").make()))
    assert "blk.1.ffn_up.weight: 1 weights" in found.message
    assert "at [5, 3]" in found.message
    (found,) = ggufkit.check(put(tmp_path, by_name("infinite_scale").make()))
    assert "1 block scales" in found.message
    assert "at [1, 32]" in found.message  # block 3; a row of 64 has two


def test_weights_are_left_alone_if_asked_to(tmp_path: Path) -> None:
    assert ggufkit.check(put(tmp_path, by_name("nan_weight").make()), weights=False) == []


def test_rules_can_be_ignored(tmp_path: Path) -> None:
    path = put(tmp_path, by_name("trailing_bytes").make())
    assert ggufkit.check(path, ignore=["trailing-bytes"]) == []
    with pytest.raises(BadValueError, match="unknown rule 'trailing'"):
        ggufkit.check(path, ignore=["trailing"])


def test_progress_adds_up_to_the_weights(tmp_path: Path) -> None:
    model = sound()
    done: list[int] = []
    ggufkit.check(put(tmp_path, {model.name: model.build()}), progress=done.append)
    assert sum(done) == sum(len(raw) for _, _, raw in model.tensors.values())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="No such file"):
        ggufkit.check(tmp_path / "none.gguf")


@pytest.mark.slow
def test_damaged_files_give_findings(tmp_path: Path) -> None:
    """Whatever is in a file, there is a list, and never another error."""
    rng = random.Random(4)
    sources = [build.small(), build.small(">"), sound().build()[:9000], sound("gpt2").build()]
    path = tmp_path / "damaged.gguf"
    for _ in range(300):
        raw = bytearray(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(min(len(raw), 9000))] = rng.choice([0, 1, 255, rng.randrange(256)])
        path.write_bytes(raw[: rng.choice([len(raw), rng.randrange(len(raw))])])
        assert all(found.message for found in ggufkit.check(path, jobs=1))


# The command


def run(capsys, *arguments: object) -> tuple[int, str]:
    code = main(["check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_exit_codes(tmp_path: Path, capsys) -> None:
    paths = {}
    for name in ("tied_twice", "nan_weight", "no_name"):
        (tmp_path / name).mkdir()
        paths[name] = put(tmp_path / name, by_name(name).make())
    model = sound()
    clean = put(tmp_path, {model.name: model.build()})
    assert run(capsys, clean) == (0, f"{clean}: nothing found\n")
    assert run(capsys, paths["no_name"], "--strict")[0] == 0
    assert run(capsys, paths["tied_twice"])[0] == 0
    assert run(capsys, paths["tied_twice"], "--strict")[0] == 1
    assert run(capsys, clean, paths["nan_weight"])[0] == 1
    assert run(capsys, paths["nan_weight"], "--ignore", "not-finite")[0] == 0
    assert run(capsys, paths["nan_weight"], "--no-weights")[0] == 0
    assert run(capsys, tmp_path / "none.gguf")[0] == 3
    assert run(capsys, clean, "--ignore", "nothing")[0] == 3
    with pytest.raises(SystemExit) as usage:
        main(["check"])
    assert usage.value.code == 2


def test_severity_hides_what_is_below(tmp_path: Path, capsys) -> None:
    path = put(tmp_path, by_name("no_name").make())
    assert "missing-name" in run(capsys, path)[1]
    assert "missing-name" not in run(capsys, path, "--severity", "warning")[1]
    (report,) = json.loads(run(capsys, path, "--severity", "error", "--json")[1])
    assert report["findings"] == []
    assert report["counts"] == {"error": 0, "warning": 0, "note": 1}


def test_what_is_hidden_counts(tmp_path: Path, capsys) -> None:
    path = put(tmp_path, by_name("trailing_bytes").make())
    assert run(capsys, path, "--severity", "error", "--strict") == (1, f"{path}: 1 warning\n")


def test_json(tmp_path: Path, capsys) -> None:
    path = put(tmp_path, by_name("tied_twice").make())
    (report,) = json.loads(run(capsys, path, "--json")[1])
    (found,) = report["findings"]
    assert (found["rule"], found["severity"], found["path"]) == ("tied-twice", "warning", str(path))
    assert found["fix"] == "leave out output.weight"
    (report,) = json.loads(run(capsys, path, "--json", "--fix")[1])
    assert report == {
        "path": str(path),
        "findings": [],
        "edits": [{"path": str(path), "how": "rewritten"}],
        "counts": {"error": 0, "warning": 0, "note": 0},
    }


def test_fix_on_the_command_line(tmp_path: Path, capsys) -> None:
    path = put(tmp_path, by_name("block_count_as_u64").make())
    before = path.read_bytes()
    code, text = run(capsys, path, "--fix", "--dry-run")
    assert code == 1
    assert "make llama.block_count UINT32" in text
    assert "would be" in text
    assert path.read_bytes() == before
    code, text = run(capsys, path, "--fix")
    assert code == 0
    assert text.endswith(f"{path}: nothing found\n")
    assert ggufkit.check(path) == []


def test_parts_of_one_split_are_one_model(tmp_path: Path, capsys) -> None:
    put(tmp_path, faults_structure.split_files(faults_structure.parts_of(sound(), 3)))
    _, text = run(capsys, *sorted(tmp_path.iterdir()))
    assert text.count("nothing found") == 1


def test_the_list_of_rules(capsys) -> None:
    rows = json.loads(run(capsys, "--rules", "--json")[1])
    assert [row["rule"] for row in rows] == [rule.id for rule in RULES]
    assert {row["rule"] for row in rows if row["fixable"]} == FIXABLE
    shown = run(capsys, "--rules")[1].splitlines()
    assert len(shown) == len(RULES) + 1


def test_severities_are_ordered() -> None:
    assert Severity.NOTE < Severity.WARNING < Severity.ERROR
