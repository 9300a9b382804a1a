"""Cases of `tests/architectures/converted`: a checkpoint, and what llama.cpp wrote of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.architectures.checkpoints import write_checkpoint

Case = dict[str, Any]
Described = dict[str, list[list[Any]]]

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "architectures" / "converted"


def describe(path: Path) -> Described:
    """Return the metadata (but the tokenizer's) and tensors of a GGUF file, as gguf-py reads it."""
    from gguf import GGUFReader

    file = GGUFReader(path)
    metadata = [
        [key, "/".join(t.name for t in field.types), field.contents()]
        for key, field in file.fields.items()
        if not key.startswith(("GGUF.", "tokenizer."))
    ]
    tensors = [
        [
            t.name,
            [int(n) for n in t.shape][::-1],
            t.tensor_type.name,
            hashlib.sha256(t.data.tobytes()).hexdigest()[:16],
        ]
        for t in file.tensors
    ]
    return {"metadata": metadata, "tensors": tensors}


def write_files(folder: Path, case: Case) -> None:
    """Write a case's checkpoint."""
    write_checkpoint(folder, case["config"], case["checkpoint"])
    for path, content in case["files"].items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))


def as_text(case: Case) -> str:
    """Return a case as JSON: one key, one checkpoint tensor or one entry a line."""
    lines = [f' "{key}": {json.dumps(case[key])}' for key in ("config", "files", "n_tokens")]
    entries = [f"  {json.dumps(n)}: {json.dumps(t)}" for n, t in case["checkpoint"].items()]
    lines.append(' "checkpoint": {\n' + ",\n".join(entries) + "\n }")
    for key in ("metadata", "tensors"):
        rows = ",\n".join(f"  {json.dumps(row)}" for row in case[key])
        lines.append(f' "{key}": [\n{rows}\n ]')
    return "{\n" + ",\n".join(lines) + "\n}\n"
