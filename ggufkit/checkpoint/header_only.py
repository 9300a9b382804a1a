"""Header-only checkouts of repositories: enough to plan a conversion, without the weights.

Shapes and dtypes are at the start of a safetensors file. Only these headers are fetched; a hole of
a sparse file, which takes no space on disk, stands in for the tensor data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ggufkit.checkpoint.checkpoint import Checkpoint
from ggufkit.checkpoint.hub import SMALL_FILES, hub_errors
from ggufkit.errors import CheckpointError

_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".gguf")


def open_header_only(repo_id: str, folder: Path, *, revision: str | None = None) -> Checkpoint:
    """Open a checkpoint of a repository with zeros for all weights.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    folder : Path
        An empty folder for the files.
    revision : str, optional
        Branch, tag or commit.

    Raises
    ------
    CheckpointError
        The repository can't be reached, found or read, or has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    with hub_errors(repo_id, revision):
        small = Path(snapshot_download(repo_id, revision=revision, allow_patterns=[*SMALL_FILES]))
        found = HfApi().get_safetensors_metadata(repo_id, revision=small.name)
    for file in small.rglob("*"):
        if file.is_file() and file.suffix not in _WEIGHTS:
            target = folder / file.relative_to(small)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    for name, header in found.files_metadata.items():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{repo_id}: its index names {name!r}, which is no plain name")
        _write_sparse(folder / name, header.tensors)
    return replace(Checkpoint.open(folder), repo_id=repo_id, revision=small.name)


def _write_sparse(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write the header for `tensors` (with dtype, shape and data_offsets), and a hole for data."""
    header: dict[str, Any] = {
        name: {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": list(t.data_offsets)}
        for name, t in tensors.items()
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    end = max((t.data_offsets[1] for t in tensors.values()), default=0)
    try:
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + end)
    except (OSError, OverflowError, ValueError) as error:
        raise CheckpointError(f"{path.name}: its header can't be written: {error}") from error
