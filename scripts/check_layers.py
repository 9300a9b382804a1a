"""Check who imports whom: the layers of docs/index.md, and rich in one module only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ggufkit"

# Every layer may import itself and these.
EVERYONE = {"errors", "types", "version"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "version": set(),
    "gguf": set(),
    "kernels": set(),
    "codecs": {"kernels"},
    "checkpoint": {"gguf.metadata", "gguf.ranges"},
    "tokenizers": {"gguf.metadata", "checkpoint"},
    "models": {"gguf.metadata", "gguf.naming"},
    "converter": {"gguf", "codecs", "kernels.measure", "checkpoint", "tokenizers", "models"},
    "api": {"gguf", "codecs"},
    "toolbox": {
        "gguf",
        "codecs",
        "kernels.measure",
        "checkpoint",
        "tokenizers",
        "models",
        "converter",
    },
    "ship": {"gguf", "codecs", "checkpoint", "tokenizers", "models", "converter", "toolbox"},
    "cli": {
        *("gguf", "codecs", "kernels", "checkpoint", "tokenizers", "models", "converter"),
        *("toolbox", "ship"),
    },
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of all modules that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may(layer: str, target: str) -> bool:
    """Whether a module of `layer` may import ``ggufkit.<target>``."""
    allowed = ALLOWED[layer] | EVERYONE | {layer}
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def violations() -> Iterator[str]:
    """Yield a line for every import that a layer must not make."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        layer = parts[0]
        if layer not in ALLOWED:  # the package itself re-exports
            continue
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)} imports {name}"
            if name.startswith("ggufkit.") and not may(layer, name.removeprefix("ggufkit.")):
                yield where
            if name.split(".")[0] == "rich" and parts != ("cli", "render"):
                yield f"{where}: only cli/render.py may"
            if name.split(".")[0] in ("torch", "transformers"):
                yield where


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found) or "layers: every import is allowed")
    sys.exit(bool(found))
