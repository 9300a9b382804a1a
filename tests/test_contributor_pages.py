"""CONTRIBUTING, the decisions and the page on the architecture: linked and complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_docs import CODE, LINK, MACHINE_PATH, anchors

ROOT = Path(__file__).resolve().parents[1]
DECISIONS = ROOT / "docs" / "decisions"
RECORDS = sorted(DECISIONS.glob("[0-9]*.md"))
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [
    ROOT / "CONTRIBUTING.md",
    ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md",
    ARCHITECTURE,
    DECISIONS / "README.md",
    *RECORDS,
]
PARTS = ["Status", "Context", "Decision", "Consequences"]


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_resolve(path: Path) -> None:
    broken = []
    for link in LINK.findall(CODE.sub("", text_of(path))):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_no_paths_of_a_machine(path: Path) -> None:
    assert not MACHINE_PATH.findall(text_of(path))


@pytest.mark.parametrize("path", RECORDS, ids=lambda p: p.name)
def test_records_have_the_same_parts_and_are_short(path: Path) -> None:
    text = text_of(path)
    title = text.partition("\n")[0]
    assert title.startswith(f"# {path.name[:4]} ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    assert len(text.splitlines()) <= 40
    assert f"[{title[2:]}]({path.name})" in text_of(DECISIONS / "README.md")


def test_records_are_numbered_without_gaps() -> None:
    assert len(RECORDS) >= 8
    assert [int(path.name[:4]) for path in RECORDS] == [*range(1, len(RECORDS) + 1)]
