"""Sizes of files to read, and how written ones are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ggufkit.toolbox.copying import CopyTarget


def tensor_bytes(path: Path) -> int:
    """Return the bytes of a model's tensors, all parts together."""
    from ggufkit.gguf.open import open_gguf

    with open_gguf(path) as model:
        return sum(info.nbytes for info in model.tensors.values())


def show_targets(targets: Sequence[CopyTarget], *, as_json: bool) -> None:
    """Show files that were or would be written."""
    from ggufkit.cli import render

    facts = [(str(t.path), len(t.layout.tensors), t.layout.file_size) for t in targets]
    if as_json:
        listed = [{"path": p, "n_tensors": n, "n_bytes": size} for p, n, size in facts]
        sys.stdout.write(json.dumps(listed, indent=1) + "\n")
        return
    columns = ("tensors", "bytes", "size", "file")
    rows = [(str(n), str(size), render.size(size), path) for path, n, size in facts]
    render.table(columns, rows, right=columns[:3])
