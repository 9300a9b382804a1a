"""The package as a whole: what it exports, what it loads, how it is layered and cut."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ggufkit
from ggufkit.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 350

# Files that may be longer: how long.
LONG_FILES = {
    "gguf/keys.py": 370,  # a table, one row per standard key
}

NEVER = {"torch", "transformers"}
HEAVY = NEVER | {"numpy", "rich", "yaml", "huggingface_hub", "sentencepiece", "gguf"}


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint('loaded:', *{{m.split('.')[0] for m in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return set(result.stdout.rpartition("loaded:")[2].split())


def test_exported_names_are_sorted_and_resolve() -> None:
    assert ggufkit.__all__ == sorted(ggufkit.__all__)
    assert dir(ggufkit) == ggufkit.__all__
    for name in ggufkit.__all__:
        assert getattr(ggufkit, name) is not None


def test_type_checkers_see_each_exported_name_at_its_home() -> None:
    source = (ROOT / "ggufkit" / "__init__.py").read_text(encoding="utf-8")
    typed = re.findall(r"^    from (\S+) import (\w+) as \2", source, re.MULTILINE)
    assert {name: home for home, name in typed} == ggufkit._HOMES


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        ggufkit.quantise  # noqa: B018


def test_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([ab.]\w+)?", ggufkit.__version__)


def test_import_loads_nothing_heavy() -> None:
    assert not loaded_by("import ggufkit") & HEAVY


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command: str) -> None:
    words = [*command.split(), "--help"]
    code = (
        "from ggufkit.cli.main import main\n"
        f"try:\n    main({words})\n"
        "except SystemExit as exit:\n    assert exit.code == 0"
    )
    assert not loaded_by(code) & HEAVY


def test_no_module_loads_torch_or_transformers() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "ggufkit").rglob("*.py"))
        if path.name != "__main__.py"
    ]
    code = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    loaded = loaded_by(code)
    assert "numpy" in loaded
    assert not loaded & NEVER


def test_layers() -> None:
    script = ROOT / "scripts" / "check_layers.py"
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_files_are_short() -> None:
    too_long = {}
    for path in (ROOT / "ggufkit").rglob("*.py"):
        name = path.relative_to(ROOT / "ggufkit").as_posix()
        limit = LONG_FILES.get(name, MAX_LINES)
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > limit:
            too_long[name] = n_lines
    assert too_long == {}


def test_long_files_are_still_long() -> None:
    for name in LONG_FILES:
        text = (ROOT / "ggufkit" / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) > MAX_LINES, f"{name} needs no exception any more"


def test_no_print_no_star_import() -> None:
    for path in (ROOT / "ggufkit").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*print\(|import \*$", text, re.MULTILINE), path
