"""What is claimed of families of models, and the data that shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from ggufkit.architectures.catalog import DATA, EVIDENCE_LEVELS, families, family_key, find_families
from ggufkit.architectures.registry import architectures, find_architecture
from ggufkit.architectures.vision import FAMILIES as VISION
from ggufkit.errors import UnknownArchitectureError
from tests.converter.manifests import ORACLE_MODELS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def test_the_claims_are_made_from_the_data_of_the_tests() -> None:
    script = ROOT / "scripts" / "make_architecture_reference.py"
    command = [sys.executable, script, "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("family", families(), ids=lambda f: family_key(f.architecture))
def test_nothing_is_claimed_without_data(family) -> None:
    def is_it(names) -> bool:
        found = find_architecture(names if isinstance(names, dict) else {"architectures": [names]})
        return family_key(found) == family_key(family.architecture)

    converted = {
        path.stem: config
        for path in (HERE / "converted").glob("*.json")
        if is_it(config := json.loads(path.read_text())["config"])
    }
    refused = json.loads((HERE / "refused.json").read_text())
    references = HERE / "references.json"
    compared = set(json.loads(references.read_text())) if references.exists() else set()
    data = {
        "ladder": [name for name in ORACLE_MODELS.values() if is_it(name)],
        "file": [name for name, config in converted.items() if is_it(config)],
        "reference": [name for name in converted if name in compared],
        "llama.cpp": [name for name in converted if name in compared or name not in refused],
        "names": [family],  # tests/architectures/test_names.py goes through all of them
    }
    assert family.evidence
    assert set(family.evidence) <= EVIDENCE_LEVELS.keys()
    for kind in family.evidence:
        assert data[kind], f"{kind} is claimed of {family.title}"


def test_every_family_has_a_title_of_its_own_and_a_key() -> None:
    known = json.loads(DATA.read_text())
    assert known.keys() == {family_key(architecture) for architecture in architectures()}
    assert len(families()) == len(known)
    assert len({family.architecture.title for family in families()} - {""}) == len(known)


def test_of_architectures_with_one_key_all_but_one_say_when() -> None:
    by_key = defaultdict(list)
    for architecture in architectures():
        by_key[family_key(architecture)].append(architecture)
    shared = [those for those in by_key.values() if len(those) > 1]
    assert shared
    assert all(sum(a.matches is None for a in those) == 1 for those in shared)


def test_families_are_found_by_name_class_or_title() -> None:
    names = {f.architecture.name for f in find_families("QWEN2")}
    assert names == {"qwen2", "qwen2moe", "qwen2vl"}
    assert find_families("MistralForCausal") == find_families("TinyLlama")
    with pytest.raises(UnknownArchitectureError, match="closest class is GemmaForCausalLM"):
        find_families("gemmma")


def test_every_class_with_a_vision_part_is_marked() -> None:
    marked = {name for family in families() for name in family.mmproj}
    classes = {name for family in VISION for name in family.hf_classes}
    known = {name for architecture in architectures() for name in architecture.hf_classes}
    assert marked == classes & known
    assert marked
