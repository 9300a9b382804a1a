"""Adapters whose weights follow from their names alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.architectures.checkpoints import write_checkpoint

FIXTURES = Path(__file__).parent / "fixtures"


def write_adapter_folder(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, Sequence[int]]]
) -> Path:
    """Write adapter_config.json and adapter_model.safetensors, as PEFT does."""
    write_checkpoint(folder, config, tensors)
    (folder / "config.json").rename(folder / "adapter_config.json")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    return folder


def write_case(case: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write a fixture's base model, with weights if it has any, and its adapter."""
    base, adapter = folder / "base", folder / case["name"]
    write_checkpoint(base, case["base"], case.get("base_tensors", {}))
    return base, write_adapter_folder(adapter, case["adapter"], case["tensors"])


def load(name: str) -> dict[str, Any]:
    """Return a fixture."""
    return json.loads((FIXTURES / f"{name}.json").read_text())
