"""Write the index of architectures from their modules; with --check, fail if it is out of date.

It says which module of ggufkit/architectures has a class, so that a conversion imports only that.
A module has the name of its ``general.architecture``, with ``-`` and ``.`` as ``_``.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ggufkit.architectures.registry import INDEX
from ggufkit.mapping.spec import Architecture


def entry(found: list[Architecture]) -> dict[str, Any]:
    """Return what the index says of a module: its name, and whether classes have a condition."""
    classes: dict[str, bool] = {}
    for architecture in found:
        for name in architecture.hf_classes:
            classes[name] = architecture.matches is not None and classes.get(name, True)
    return {"name": found[0].name, "classes": classes}


def index(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the index of the modules in a folder.

    An architecture that is in no module of its name stops the script.
    """
    made: dict[str, dict[str, Any]] = {}
    seen: dict[int, str] = {}
    indexed: set[int] = set()
    for path in sorted(folder.glob("*.py")):
        module = vars(importlib.import_module(f"ggufkit.architectures.{path.stem}"))
        found = [value for value in module.values() if isinstance(value, Architecture)]
        seen |= {id(architecture): f"{path.name}: {architecture.name}" for architecture in found}
        own = [a for a in found if re.sub("[-.]", "_", a.name) == path.stem]
        indexed |= {id(architecture) for architecture in own}
        if own:
            made[path.stem] = entry(own)
    lost = sorted(where for which, where in seen.items() if which not in indexed)
    if lost:
        sys.exit(
            "the file of an architecture has its name; these are elsewhere: " + ", ".join(lost)
        )
    return made


if __name__ == "__main__":
    found = index(INDEX.parent)
    lines = ",\n".join(f" {json.dumps(module)}: {json.dumps(found[module])}" for module in found)
    text = f"{{\n{lines}\n}}\n"
    if "--check" not in sys.argv:
        INDEX.write_text(text, encoding="utf-8")
    elif not INDEX.is_file() or INDEX.read_text(encoding="utf-8") != text:
        sys.exit(f"{INDEX.name} is out of date: run scripts/make_architecture_index.py")
