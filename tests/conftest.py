"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.ggml import Ggml, load_ggml

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT / "tests" / "real"

# pytest-xdist tells its workers a width; without one, commands print as into a pipe.
os.environ.pop("COLUMNS", None)
# a bug shows itself as it is
os.environ["GGUFKIT_DEBUG"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs llama.cpp (all of tests/real) or a browser, and what is listed as slow."""
    slow = set((ROOT / "tests" / "slow.txt").read_text(encoding="utf-8").splitlines())
    for item in items:
        if REAL in item.path.parents:
            item.add_marker(pytest.mark.llama_cpp)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        module = ".".join(item.path.relative_to(ROOT).with_suffix("").parts)
        name = f"{module}::{item.name}"
        if name in slow or name.split("[")[0] in slow:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def oracle() -> Path:
    """Folder of ground truth made by llama.cpp; it is not part of the repository."""
    path = ROOT.parent / "shared" / "oracle"
    if not path.is_dir():
        pytest.skip(f"no oracle data at {path}: byte comparison with llama.cpp is not run")
    return path


@pytest.fixture(scope="session")
def ggml() -> Ggml:
    """The prebuilt ggml of the package libggml-python."""
    return load_ggml()
