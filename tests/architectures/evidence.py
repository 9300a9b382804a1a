"""What the tests' data shows of each family of models: the evidence that the package claims."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ggufkit.architectures.catalog import EVIDENCE_LEVELS, by_key, family_key
from ggufkit.architectures.registry import find_architecture
from tests.converter.manifests import ORACLE_MODELS

HERE = Path(__file__).parent
REFERENCES = HERE / "references.json"


def evidence() -> dict[str, list[str]]:
    """Return every family's evidence by `family_key`, in the order of `EVIDENCE_LEVELS`."""
    shown = defaultdict(set)
    for kind, config in _shown():
        shown[family_key(find_architecture(config))].add(kind)
    return {
        key: [kind for kind in EVIDENCE_LEVELS if kind in shown[key]] or ["names"]
        for key in by_key()
    }


def _shown() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield kinds of evidence and a config of what each is about."""
    for name in ORACLE_MODELS.values():
        yield "ladder", {"architectures": [name]}
    refused = json.loads((HERE / "refused.json").read_text())
    cases = {path.stem: json.loads(path.read_text()) for path in HERE.glob("converted/*.json")}
    for name, case in cases.items():
        yield "file", case["config"]
        if name not in refused:
            yield "llama.cpp", case["config"]
    references = json.loads(REFERENCES.read_text()) if REFERENCES.exists() else {}
    for name in references:  # llama.cpp has computed with what it was compared on
        yield "reference", cases[name]["config"]
        yield "llama.cpp", cases[name]["config"]
