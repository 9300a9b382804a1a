"""Fixtures that several test folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ggml import Ggml, load_ggml

ROOT = Path(__file__).resolve().parents[1]


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
