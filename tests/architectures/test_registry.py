"""The index of architectures: current, lazy, and open to other packages and files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ggufkit
from ggufkit.architectures import registry, third_party
from ggufkit.architectures.registry import (
    architecture_names,
    architectures,
    architectures_named,
    class_names,
    find_architecture,
    index,
)
from ggufkit.errors import ConversionError, UnknownArchitectureError
from tests.llama import write_llama

PACKAGE = Path(ggufkit.__file__).parent
ROOT = PACKAGE.parent
DATA = registry.INDEX.parent

MINE = '''
"""A llama by another name."""
from dataclasses import replace
from ggufkit.architectures.llama import LLAMA
MINE = replace(LLAMA, name="mine", hf_classes=("MineForCausalLM",))
'''


def loaded_after(code: str) -> set[str]:
    """Return the architecture modules that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint('loaded:', *sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = run.stdout.rpartition("loaded:")[2].split()
    return {name.removeprefix("ggufkit.architectures.") for name in names} & index().keys()


def test_the_index_is_current() -> None:
    script = [sys.executable, "scripts/make_architecture_index.py", "--check"]
    subprocess.run(script, cwd=ROOT, check=True)


def test_a_conversion_imports_the_architecture_in_use_and_no_other(tmp_path: Path) -> None:
    assert loaded_after("import ggufkit") == set()
    source, out = write_llama(tmp_path / "model"), tmp_path / "out.gguf"
    code = f"import ggufkit\nggufkit.convert({str(source)!r}, {str(out)!r}, ladder='F16')"
    assert loaded_after(code) == {"llama"}
    assert out.is_file()


def test_only_architectures_name_an_architecture_module() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(DATA):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    assert "ggufkit.architectures.registry.find_architecture" in found
    assert not {f"ggufkit.architectures.{module}" for module in index()} & found


def test_every_architecture_says_what_it_is_made_from() -> None:
    for module in index():
        docstring = ast.get_docstring(ast.parse((DATA / f"{module}.py").read_text())) or ""
        assert "\nSource: llama.cpp conversion/" in docstring, module


def test_the_page_on_adding_one_shows_a_file_of_the_package() -> None:
    page = (ROOT / "docs" / "adding-an-architecture.md").read_text()
    assert f"```python\n{(DATA / 'dots1.py').read_text()}```" in page


def test_names_and_classes_are_those_of_the_architectures() -> None:
    assert architecture_names() == sorted({a.name for a in architectures()})
    named = [a for name in architecture_names() for a in architectures_named(name)]
    assert {id(a) for a in named} == {id(a) for a in architectures()}
    covered = {name for a in architectures() if a.matches is None for name in a.hf_classes}
    assert set(class_names()) == covered


@pytest.fixture
def installed(tmp_path: Path, monkeypatch):
    """Return a function that installs a package with an entry point."""

    def install(code: str) -> None:
        (tmp_path / "mine_of_tests.py").write_text(code)
        info = tmp_path / "mine-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ggufkit.architectures]\nmine = mine_of_tests\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        third_party.installed.cache_clear()

    yield install
    third_party.installed.cache_clear()
    sys.modules.pop("mine_of_tests", None)


def test_installed_packages_add_architectures(installed) -> None:
    config = {"architectures": ["MineForCausalLM"]}
    with pytest.raises(UnknownArchitectureError):
        find_architecture(config)
    installed(MINE)
    assert find_architecture(config).name == "mine"
    assert [a.hf_classes for a in architectures_named("mine")] == [("MineForCausalLM",)]
    assert "mine" in architecture_names()
    assert "MineForCausalLM" in class_names()
    assert sum("LlamaForCausalLM" in a.hf_classes for a in architectures()) == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("from ggufkit.architectures.llama import LLAMA", "defines no Architecture"),
    ],
)
def test_a_broken_package_is_named(installed, code: str, said: str) -> None:
    installed(code)
    with pytest.raises(ConversionError, match="entry point mine = mine_of_tests of") as caught:
        find_architecture({"architectures": ["MineForCausalLM"]})
    assert said in str(caught.value)
    # what the package covers itself needs none of it
    assert find_architecture({"architectures": ["LlamaForCausalLM"]}).name == "llama"


def test_a_file_takes_precedence_and_covers_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "my-model.py"
    path.write_text(MINE.replace("MineForCausalLM", "LlamaForCausalLM"))
    given = third_party.load_file(path).architectures
    assert [a.name for a in given] == ["mine"]
    config = json.loads((write_llama(tmp_path / "model") / "config.json").read_text())
    assert find_architecture(config, given=given).name == "mine"
    with pytest.raises(UnknownArchitectureError, match=r"Gpt.*covers LlamaForCausalLM"):
        find_architecture({"architectures": ["Gpt"]}, given=given)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = ", "SyntaxError"),
        ("from ggufkit.architectures.llama import LLAMA", "defines no Architecture"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, code: str, said: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(ConversionError, match=rf"broken\.py.* {said}"):
        third_party.load_file(path)
