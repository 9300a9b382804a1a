"""Modules, scripts, tests and fixtures that any page names exist."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests import test_docs
from tests.test_contributor_pages import ARCHITECTURE, PAGES, ROOT, text_of

ROOMS = re.findall(r"^\| `(\w+)/` \|", text_of(ARCHITECTURE), re.MULTILINE)
# `scripts/test --fast` is a path and its arguments.
OUTSIDE = re.compile(r"`((?:scripts|tests|fixtures|docs)/[\w./-]*)[^`]*`")
MODULE = re.compile(rf"(?<![\w/])(?:ggufkit/)?((?:{'|'.join(ROOMS)})/[\w/]*(?:\.\w+)?)")
# Other pages name modules by their whole path, after the package.
IN_PACKAGE = re.compile(r"(?<![\w/])ggufkit/((?:\w+/)*\w*(?:\.\w+)?)")
# In the repositories of ggml and llama.cpp.
ELSEWHERE = {"docs/gguf.md", "tests/test-chat-template.cpp"}
# NAME and VERB stand for something.
PLACEHOLDER = re.compile(r"[A-Z]{2}")


def missing(
    pattern: re.Pattern[str], root: Path, pages: Sequence[Path] = (*PAGES, *test_docs.PAGES)
) -> list[str]:
    """Return the paths that pages name, but `root` does not have."""
    named = {name for page in pages for name in pattern.findall(text_of(page))}
    concrete = {name for name in named if not PLACEHOLDER.search(name)} - ELSEWHERE
    assert len(concrete) > 8
    return sorted(name for name in concrete if not (root / name).exists())


def test_rooms_are_those_of_the_package() -> None:
    assert sorted(ROOMS) == sorted(p.parent.name for p in (ROOT / "ggufkit").glob("*/__init__.py"))


def test_modules_exist() -> None:
    assert missing(MODULE, ROOT / "ggufkit", PAGES) == []
    assert missing(IN_PACKAGE, ROOT / "ggufkit") == []


def test_scripts_tests_and_fixtures_exist() -> None:
    assert missing(OUTSIDE, ROOT) == []
