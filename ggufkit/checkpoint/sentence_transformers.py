"""How an embedding model pools its tokens, from the files of sentence-transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ggufkit.errors import CheckpointError
from ggufkit.io.guarded_files import MAX_CONFIG_BYTES, has_file, parse_json, read_bytes

# sentence-transformers' flags, in the order in which it looks at them, and a name for each.
_FLAGS = (
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_lasttoken", "lasttoken"),
)


# What a file has, or llama.cpp does by itself.
_IN_FILE = ("Transformer", "Pooling", "Normalize")


def pooling_mode(folder: Path) -> str | None:
    """Return "mean", "cls" or "lasttoken", or None if modules.json lists no pooling.

    Raises
    ------
    CheckpointError
        The files can't be read, or GGUF has no value for the pooling.
    """
    path = folder / "modules.json"
    modules = _modules(folder)
    pooling = next((m for m in modules if str(m.get("type", "")).endswith("Pooling")), None)
    if pooling is None:
        return None
    name = str(pooling.get("path", ""))
    if "/" in name or ".." in name or not (folder / name).is_dir():
        raise CheckpointError(f"{path}: the folder {name!r} of the pooling module is missing")
    settings: dict[str, Any] = _read(folder, f"{name}/config.json")
    for flag, mode in _FLAGS:
        if settings.get(flag):
            return mode
    mode = str(settings.get("pooling_mode"))
    if mode not in {known for _, known in _FLAGS}:
        raise CheckpointError(
            f"{folder / name / 'config.json'}: pooling must be mean, cls or lasttoken"
        )
    return mode


def other_modules(folder: Path) -> list[str]:
    """Return the modules after pooling that change embeddings: linear layers and the like.

    Raises
    ------
    CheckpointError
        modules.json can't be read.
    """
    kinds = [(str(m.get("type", "")).rpartition(".")[2], m.get("path")) for m in _modules(folder)]
    return [f"{path} ({kind})" for kind, path in kinds if kind not in _IN_FILE]


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / "modules.json"
    if not has_file(folder, path.name):
        return []
    modules = _read(folder, path.name)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise CheckpointError(f"{path}: expected a list of modules")
    return modules


def _read(folder: Path, name: str) -> Any:
    try:
        return parse_json(read_bytes(folder, name, MAX_CONFIG_BYTES))
    except ValueError as error:
        raise CheckpointError(f"{folder / name}: {error}") from error
