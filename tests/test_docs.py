"""The documentation says what the code does: complete, linked, and run."""

from __future__ import annotations

import ast
import doctest
import re
import runpy
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from ggufkit.architectures.registry import architectures
from ggufkit.cli.main import COMMANDS, build_parser
from ggufkit.converter.planning.recipes import ALIASES, RECIPES, parse_ladder
from ggufkit.converter.planning.type_selection import TypeOptions
from ggufkit.types import TensorType
from tests.llama import write_llama

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
SCRIPTS = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Folders of a machine, which mean nothing to a reader.
MACHINE_PATH = re.compile(r"(?<![\w.~/:-])/(?:work|tmp|home|root|Users|opt|mnt)/")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w.\-]+", text))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described(command: str) -> None:
    assert f"ggufkit {command}" in page("cli.md")
    elsewhere = (p.read_text(encoding="utf-8") for p in PAGES if p.name != "cli.md")
    assert any(f"ggufkit {command}" in text for text in elsewhere)


def test_commands_and_options_in_the_pages_exist() -> None:
    parser = build_parser()
    known = {"--help", "--version"}
    for action in parser._actions:
        for sub in getattr(action, "choices", None) or {}:
            known |= {o for a in action.choices[sub].filled()._actions for o in a.option_strings}
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^(?:\$ )?ggufkit (?![\w-]+: error)(.+)$", text, re.M):
            shown = line.split("#")[0].split()
            assert shown[0] in {*COMMANDS, "COMMAND"}, f"{path.name}: {line}"
            unknown = {w for w in shown if w.startswith("-")} - known
            assert not unknown, f"{path.name}: {line}: {unknown}"


def test_every_recipe_is_listed() -> None:
    rows = re.findall(r"^\| `(\w+)`", page("recipes.md"), re.MULTILINE)
    assert [row for row in rows if row in RECIPES] == list(RECIPES)
    assert ALIASES.keys() <= words(page("recipes.md"))


def test_recipe_tables_are_up_to_date() -> None:
    script = ROOT / "scripts" / "make_recipe_reference.py"
    command = [sys.executable, script, "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_type_option_is_described() -> None:
    for name in TypeOptions.__dataclass_fields__:
        assert f"`--{name.replace('_', '-')}" in page("recipes.md")


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.hf_classes[0])
def test_every_architecture_is_listed(architecture) -> None:
    listed = words(page("architectures.md"))
    assert {architecture.name, *architecture.hf_classes} <= listed


@pytest.mark.parametrize("tensor_type", TensorType, ids=lambda t: t.name)
def test_every_codec_is_listed(tensor_type: TensorType) -> None:
    assert tensor_type.name in words(page("codecs.md"))


def test_every_page_is_in_the_index() -> None:
    linked = set(LINK.findall(page("index.md")))
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= linked


def test_imports_on_the_architecture_page_are_those_that_are_checked() -> None:
    layers = runpy.run_path(str(ROOT / "scripts" / "check_layers.py"))
    allowed = layers["ALLOWED"]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+) \|$", page("architecture.md"), re.MULTILINE)
    shown = {
        room: set(re.findall(r"`([\w.]+)`", targets))
        for rooms, targets in rows
        for room in re.findall(r"\w+", rooms)
    }
    everything = allowed.keys() - {*layers["EVERYONE"], "cli"}
    for room in everything:
        assert shown[room] == set(allowed[room]), room
    assert set(allowed["cli"]) == everything - shown["cli"]


def test_every_dependency_is_justified() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[<>=\[]", requirement)[0] for requirement in wanted}
    assert names <= words(page("dependencies.md"))


def test_error_tree_is_that_of_the_module() -> None:
    source = (ROOT / "ggufkit" / "errors.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    tree = re.search(r"^    GGUFKitError\n.*?(?=\n\n)", docstring, re.MULTILINE | re.DOTALL)
    assert tree is not None
    assert textwrap.dedent(tree[0]) in page("api.md")


def test_ladders_in_the_readme_are_ladders() -> None:
    ladders = re.findall(r"--ladder (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert ladders
    for ladder in ladders:
        assert parse_ladder(ladder)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_internal_links_resolve(path: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS], ids=lambda p: p.name)
def test_no_paths_of_a_machine(path: Path) -> None:
    assert not MACHINE_PATH.findall(path.read_text(encoding="utf-8"))


def avoided() -> list[re.Pattern[str]]:
    """Return the phrases that the glossary tells to avoid, also across line ends."""
    section = page("glossary.md").partition("## Words to avoid")[2]
    rows = re.findall(r"^\| (.+) \| .+ \|$", section, re.MULTILINE)[1:]
    phrases = [phrase for row in rows for phrase in row.split(", ")]
    assert len(phrases) > 10
    spaced = (r"\s+(?:# )?".join(map(re.escape, phrase.split())) for phrase in phrases)
    return [re.compile(rf"\b{phrase}(?!\w)", re.IGNORECASE) for phrase in spaced]


# Names of earlier editions: each thing has one name now.
OLD_NAMES = re.compile(
    r"\b(?:JoinedFile|TakeRows|EveryOther|Regroup|TileHeads|Upright|_?[Dd]esk|[Ss]hel(?:f|ves)"
    r"|relay|hand_over|needs_of|refuse_strangers|n_kept|KEEP_BYTES|places\.py|ways\.py|ways_of_rope"
    r"|facts_of_encoders|recover\.py|listing\.py|pooling\.py|pool\.py|book\.py|trial\.py)\b"
)


def test_words_that_the_glossary_avoids_are_not_used() -> None:
    patterns = [*avoided(), OLD_NAMES]
    texts = {path: path.read_text(encoding="utf-8") for path in PAGES}
    texts[DOCS / "glossary.md"] = page("glossary.md").partition("## Words to avoid")[0]
    for path in (ROOT / "ggufkit").rglob("*.py"):
        texts[path] = path.read_text(encoding="utf-8")
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in sorted(texts.items())
        for pattern in patterns
        for match in pattern.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["README.md", "docs/api.md"])
def test_python_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in ("tiny-llama", "my-model"):
        write_llama(tmp_path / model)
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(
        str(ROOT / name), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8"
    )
    assert result.attempted > 3
    assert result.failed == 0
