"""Architectures: one file each, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ggufkit.errors import UnknownArchitectureError
from ggufkit.models.base import Architecture
from ggufkit.models.bert import BERT
from ggufkit.models.gemma import GEMMA3
from ggufkit.models.llama import LLAMA
from ggufkit.models.qwen import QWEN2, QWEN3

ARCHITECTURES: tuple[Architecture, ...] = (BERT, GEMMA3, LLAMA, QWEN2, QWEN3)

BY_HF_CLASS: Mapping[str, Architecture] = MappingProxyType(
    {name: architecture for architecture in ARCHITECTURES for name in architecture.hf_classes}
)


def find_architecture(config: Mapping[str, Any]) -> Architecture:
    """Return the architecture of a checkpoint.

    Parameters
    ----------
    config : mapping
        Its config.json.

    Raises
    ------
    UnknownArchitectureError
        No architecture file covers its class, or it names none.
    """
    names = config.get("architectures") or []
    for name in names:
        if name in BY_HF_CLASS:
            return BY_HF_CLASS[name]
    raise UnknownArchitectureError(
        f"config.json names the model class {', '.join(map(str, names)) or '(none)'}, "
        f"which ggufkit can't convert yet; it knows {', '.join(sorted(BY_HF_CLASS))}"
    )
