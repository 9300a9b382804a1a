"""Architectures: one file each, one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ggufkit.errors import UnknownArchitectureError
from ggufkit.models.base import Architecture
from ggufkit.models.bert import BERT
from ggufkit.models.deepseek import DEEPSEEK2
from ggufkit.models.falcon import FALCON
from ggufkit.models.gemma import GEMMA, GEMMA2, GEMMA3
from ggufkit.models.gpt2 import GPT2
from ggufkit.models.llama import LLAMA, MIXTRAL
from ggufkit.models.phi import PHI3
from ggufkit.models.qwen import QWEN2, QWEN2MOE, QWEN3, QWEN3MOE

ARCHITECTURES: tuple[Architecture, ...] = (
    BERT,
    DEEPSEEK2,
    FALCON,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GPT2,
    LLAMA,
    MIXTRAL,
    PHI3,
    QWEN2,
    QWEN2MOE,
    QWEN3,
    QWEN3MOE,
)

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
