"""What the pages for contributors name exists: rooms, modules, scripts."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_contributor_pages import ARCHITECTURE, PAGES, ROOT, text_of

ROOMS = re.findall(r"^\| `(\w+)/` \|", text_of(ARCHITECTURE), re.MULTILINE)
# `scripts/test --fast` is a path and its arguments.
OUTSIDE = re.compile(r"`((?:scripts|tests|fixtures|docs)/[\w./-]*)[^`]*`")
MODULE = re.compile(rf"(?<![\w/])(?:ggufkit/)?((?:{'|'.join(ROOMS)})/[\w/]*(?:\.\w+)?)")
# NAME and VERB stand for something.
PLACEHOLDER = re.compile(r"[A-Z]{2}")


def missing(pattern: re.Pattern[str], root: Path) -> list[str]:
    """Return the paths that the pages name and that `root` does not have."""
    named = {name for page in PAGES for name in pattern.findall(text_of(page))}
    concrete = {name for name in named if not PLACEHOLDER.search(name)}
    assert len(concrete) > 8
    return sorted(name for name in concrete if not (root / name).exists())


def test_rooms_are_those_of_the_package() -> None:
    assert sorted(ROOMS) == sorted(p.parent.name for p in (ROOT / "ggufkit").glob("*/__init__.py"))


def test_modules_exist() -> None:
    assert missing(MODULE, ROOT / "ggufkit") == []


def test_scripts_tests_and_fixtures_exist() -> None:
    assert missing(OUTSIDE, ROOT) == []
