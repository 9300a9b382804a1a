"""Check who imports whom: rooms import downwards only, and no modules form a circle.

The rooms are those of docs/architecture.md, from the ground up. A module may import its own room
and some of the rooms below; import statements inside functions count like the others. Only
cli/render.py imports rich, and nothing imports torch or transformers.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ggufkit"

# From the ground up. A room may import itself, `EVERYONE`, and these, all of which come before it.
EVERYONE = ("arrays", "errors", "types", "version")
ALLOWED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(EVERYONE, ()),
    "io": (),
    "gguf": ("io",),
    "kernels": (),
    "codecs": ("kernels",),
    "api": ("gguf", "codecs"),
    "checkpoint": ("io", "gguf.metadata", "gguf.naming"),
    "tokenizers": ("io", "gguf.metadata", "checkpoint"),
    "mapping": ("gguf.metadata",),
    "architectures": ("gguf.metadata", "mapping"),
    "rules": ("gguf", "tokenizers", "mapping", "architectures"),
    "calibration": ("io", "gguf", "codecs"),
}
_CONVERTING = (
    *("io", "gguf", "codecs", "checkpoint", "tokenizers", "mapping", "architectures", "rules"),
)
ALLOWED |= {
    "converter": (*_CONVERTING, "kernels.measure", "calibration"),
    "export": (*_CONVERTING, "converter"),
    "toolbox": (*_CONVERTING, "kernels.measure", "calibration", "converter", "export"),
    "publish": (*_CONVERTING, "calibration", "converter", "export", "toolbox"),
    "cli": (
        *(room for room in ALLOWED if room not in (*EVERYONE, "api")),
        *("converter", "export", "toolbox", "publish"),
    ),
}
NEVER = {"torch", "transformers"}


def module_name(path: Path) -> str:
    """Return the dotted name of a module's file, such as ``gguf.model``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names of all that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read_imports() -> dict[str, set[str]]:
    """Return what each module of the package imports; the package's own `__init__` is left out."""
    paths = (path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE)
    found = {
        module_name(path): set(imported(ast.parse(path.read_text(encoding="utf-8"))))
        for path in (*paths, *(p for p in PACKAGE.glob("*.py") if p.stem != "__init__"))
    }
    found.pop("", None)
    return found


def own_imports(imports: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return which modules of the package each module imports."""
    graph: dict[str, set[str]] = {}
    for module, names in imports.items():
        own = (name.removeprefix("ggufkit.") for name in names if name.startswith("ggufkit."))
        targets = {name if name in imports else name.rpartition(".")[0] for name in own}
        graph[module] = {target for target in targets if target in imports} - {module}
    return graph


def misplaced(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield a line for every import that a room must not make."""
    for module, targets in graph.items():
        room = module.split(".")[0]
        if room not in ALLOWED:
            yield f"{module} is in no room of scripts/check_layers.py"
            continue
        allowed = (room, *EVERYONE, *ALLOWED[room])
        for target in sorted(targets):
            if not any(target == name or target.startswith(f"{name}.") for name in allowed):
                yield f"{module} must not import {target}"


def foreign(imports: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield a line for every package that a module must not import."""
    for module, names in imports.items():
        packages = {name.split(".")[0] for name in names}
        if "rich" in packages and module != "cli.render":
            yield f"{module} imports rich: only cli.render does"
        yield from (f"{module} imports {name}" for name in sorted(packages & NEVER))


def circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield a line for every set of modules that import one another (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for target in sorted(graph[module]):
            if target not in index:
                visit(target)
            if target in stack:
                low[module] = min(low[module], low[target])
        if low[module] == index[module]:
            at = stack.index(module)
            found.append(stack[at:])
            del stack[at:]

    for module in sorted(graph):
        if module not in index:
            visit(module)
    yield from (f"a circle: {' <-> '.join(sorted(names))}" for names in found if len(names) > 1)


def violations() -> Iterator[str]:
    """Yield a line for everything that is not allowed."""
    imports = read_imports()
    graph = own_imports(imports)
    yield from misplaced(graph)
    yield from foreign(imports)
    yield from circles(graph)


if __name__ == "__main__":
    found = list(violations())
    print("\n".join(found) or "layers: every import goes down, and there is no circle")
    sys.exit(bool(found))
