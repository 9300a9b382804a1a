"""The package as a whole: what it exports, what it loads, how it is layered and cut."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ggufkit
from ggufkit.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
MAX_CODE_LINES = 400
MAX_MEDIAN_FUNCTION = 7

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


DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def parsed_files() -> Iterator[tuple[str, str, ast.Module]]:
    """Yield name, text and syntax tree of every file of the package."""
    for path in sorted((ROOT / "ggufkit").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        yield path.relative_to(ROOT / "ggufkit").as_posix(), text, ast.parse(text)


def count_code_lines(text: str, tree: ast.Module) -> int:
    """Count lines that are not blank, comments, docstrings or a module's constants (tables)."""
    docstrings = [
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node) is not None
    ]
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    skipped = {i for node in docstrings + tables for i in range(node.lineno, node.end_lineno + 1)}
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and i not in skipped
        for i, line in enumerate(text.splitlines(), 1)
    )


def test_code_lines_are_counted_without_docstrings_comments_and_tables() -> None:
    text = (
        '"""Doc\nstring."""\n\n# why\nT = {\n  1: 2,\n}\n\ndef f():\n    """Doc."""\n    return T\n'
    )
    assert count_code_lines(text, ast.parse(text)) == 2


def test_files_are_short() -> None:
    counts = {name: count_code_lines(text, tree) for name, text, tree in parsed_files()}
    assert {name: n for name, n in counts.items() if n > MAX_CODE_LINES} == {}


def test_functions_are_short() -> None:
    lengths = [
        node.end_lineno - node.lineno + 1
        for _, _, tree in parsed_files()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(lengths) > 1000
    assert statistics.median(lengths) <= MAX_MEDIAN_FUNCTION


def test_no_class_name_is_used_twice() -> None:
    homes: dict[str, list[str]] = {}
    for file, _, tree in parsed_files():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(file)
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_no_print_no_star_import() -> None:
    for path in (ROOT / "ggufkit").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*print\(|import \*$", text, re.MULTILINE), path
