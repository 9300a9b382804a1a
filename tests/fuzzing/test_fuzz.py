"""A short campaign over every reader, and every file that once broke one."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.fuzzing.campaign import fuzz, try_one
from tests.fuzzing.targets import Target, all_targets

REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.bin"))
N = 300
NAMES = (
    *(
        "gguf",
        "gguf-lenient",
        "split",
        "check",
        "export",
        "imatrix",
        "imatrix-legacy",
        "safetensors",
    ),
    *("index", "config", "tokenizer", "tokenizer-config", "pieces", "pickle", "pickle-alone"),
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return all_targets(tmp_path_factory.mktemp("fuzz"))


def test_every_target_is_fuzzed(targets: dict[str, Target]) -> None:
    assert set(NAMES) == set(targets)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_are_read(targets: dict[str, Target], name: str) -> None:
    for seed in targets[name].seeds:
        assert not try_one(targets[name], seed)


@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_read_or_refused(targets: dict[str, Target], name: str, tmp_path: Path) -> None:
    target = targets[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = fuzz(name, target, int(N * min(1, target.share)), 1, tmp_path)
    assert not found.findings, [path.with_suffix(".txt").read_text() for path in found.findings]
    assert found.accepted + found.refused == found.mutants > 0


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.stem)
def test_what_once_broke_a_reader_no_longer_does(targets: dict[str, Target], path: Path) -> None:
    name = max((n for n in NAMES if path.stem.startswith(f"{n}-")), key=len)
    assert not try_one(targets[name], path.read_bytes())
