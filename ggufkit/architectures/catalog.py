"""All architectures by family, with their display names and verification status."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ggufkit.architectures.from_gguf_py import generic_name
from ggufkit.architectures.registry import architectures, class_names
from ggufkit.architectures.suggest import closest_name
from ggufkit.architectures.vision import FAMILIES as VISION
from ggufkit.errors import UnknownArchitectureError
from ggufkit.mapping.spec import Architecture

# Kinds of evidence, the strongest first.
EVIDENCE_LEVELS: Mapping[str, str] = MappingProxyType(
    {
        "ladder": "float files and quantized rungs, with and without importance matrix and "
        "options, are byte for byte those of llama.cpp's converter and llama-quantize",
        "file": "the BF16 file of a tiny checkpoint is byte for byte that of llama.cpp's converter",
        "reference": "llama.cpp computes with that file what transformers computes with the "
        "checkpoint",
        "llama.cpp": "llama.cpp loads that file and computes with it",
        "names": "only the names of keys and tensors were compared with gguf-py's tables",
    }
)

# Made from the tests' data by scripts/make_architecture_reference.py.
DATA = Path(__file__).with_name("evidence.json")


@dataclass(frozen=True)
class CatalogEntry:
    """An architecture and what is known of it.

    Attributes
    ----------
    architecture : Architecture
        Its data.
    title : str
        What people call the models.
    evidence : tuple of str
        What was shown of it: keys of `EVIDENCE_LEVELS`.
    mmproj : tuple of str
        Its classes of which ``--mmproj`` converts the vision encoder.
    """

    architecture: Architecture
    title: str
    evidence: tuple[str, ...]
    mmproj: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what there is to say, for JSON."""
        return {
            "title": self.title,
            "architecture": self.architecture.name,
            "classes": list(self.architecture.hf_classes),
            "evidence": list(self.evidence),
            "mmproj": list(self.mmproj),
        }


def family_key(architecture: Architecture) -> str:
    """Return what tells a family from all others: several may share a name, or a class.

    Architectures that share both are one family, whose models with and without experts have other
    tensors.
    """
    return f"{architecture.name} {architecture.hf_classes[0]}"


def by_key() -> Mapping[str, Architecture]:
    """Return the architectures by `family_key`, the first one of each."""
    found: dict[str, Architecture] = {}
    for architecture in architectures():
        found.setdefault(family_key(architecture), architecture)
    return found


@cache
def families() -> tuple[CatalogEntry, ...]:
    """Return all families, in the order of their names."""
    known = json.loads(DATA.read_text(encoding="utf-8"))
    seeing = {name for family in VISION for name in family.hf_classes}
    found = [_family(a, known.get(key, ["names"]), seeing) for key, a in by_key().items()]
    return tuple(sorted(found, key=lambda family: family.architecture.name))


def _family(architecture: Architecture, shown: list[str], seeing: set[str]) -> CatalogEntry:
    return CatalogEntry(
        architecture,
        title=architecture.title or architecture.name,
        evidence=tuple(shown),
        mmproj=tuple(name for name in architecture.hf_classes if name in seeing),
    )


def find_families(text: str) -> tuple[CatalogEntry, ...]:
    """Return the families in whose name, classes or title a text is found, whatever its case.

    Raises
    ------
    UnknownArchitectureError
        There is none.
    """
    found = tuple(f for f in families() if any(text.lower() in t.lower() for t in _texts(f)))
    if not found:
        table = generic_name({"model_type": text})
        can = f"; --generic converts models as {table}, unverified" if table else ""
        raise UnknownArchitectureError(
            f"no architecture, class or model is called {text[:200]!r}; the closest class is "
            f"{closest_name([text], class_names())}{can}. docs/adding-an-architecture.md says how "
            "to add one"
        )
    return found


def _texts(family: CatalogEntry) -> Iterator[str]:
    yield family.title
    yield family.architecture.name
    yield from family.architecture.hf_classes
