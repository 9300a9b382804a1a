"""The shards of a checkpoint, and its tensors in llama.cpp's order.

Safetensors are preferred; torch's files are read only if a checkpoint has no others. The order
matters, since ``convert_hf_to_gguf.py`` writes tensors in the order in which it reads them: shards
sorted by file name and, inside a shard, tensors sorted by name as plain strings (safetensors) or
in the order in which they were saved (torch).
"""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ggufkit.checkpoint.folder_kinds import describe
from ggufkit.checkpoint.safetensors import read_header
from ggufkit.checkpoint.torch.torchfile import read_torch_header
from ggufkit.errors import CheckpointError, MissingFileError
from ggufkit.io.guarded_files import MAX_INDEX_BYTES, find_file, has_file, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ggufkit.checkpoint.safetensors import CheckpointTensor, Shard

INDEX_NAME = "model.safetensors.index.json"
TORCH_INDEX_NAME = "pytorch_model.bin.index.json"
SHARD_NAME = re.compile(r"[\w.\-]+\.(?:safetensors|bin|pt|pth)", re.ASCII)
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.(?:safetensors|bin)", re.ASCII)
N_SAMPLERS = 8
# Without an index: the first pattern that matches a file.
PATTERNS = ("model*.safetensors", "pytorch_model*.bin", "pytorch_model.pt", "pytorch_model.pth")


def read_index(folder: Path, index: str = INDEX_NAME) -> dict[str, str]:
    """Return the ``weight_map`` of an index: from tensor name to the file name of its shard.

    Raises
    ------
    MissingFileError
        There is no index.
    CheckpointError
        The index is malformed or names a file outside the folder.
    """
    weight_map = read_json(folder, index, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / index}: 'weight_map' is missing or empty")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            raise CheckpointError(
                f"{folder / index}: the shard name {str(shard)[:200]!r} is not allowed; "
                "it must be the plain name of a safetensors or torch file in the same folder"
            )
    return weight_map


def read_tensors(folder: Path) -> dict[str, CheckpointTensor]:
    """Return every tensor of a checkpoint, in the order of ``convert_hf_to_gguf.py``.

    Raises
    ------
    MissingFileError
        A shard is missing, or there are no weights at all.
    CheckpointError
        A shard is malformed, or shards and index contradict each other.
    """
    index = find_index(folder)
    if index is None:
        return _read_shards(folder, _shards_without_index(folder))
    weight_map = read_index(folder, index)
    tensors = _read_shards(folder, set(weight_map.values()))
    check_index(folder, index, weight_map, tensors)
    return tensors


def find_index(folder: Path) -> str | None:
    """Return the name of the index to use: torch's only if there are no safetensors."""
    if has_file(folder, INDEX_NAME):
        return INDEX_NAME
    if not any(folder.glob(PATTERNS[0])) and has_file(folder, TORCH_INDEX_NAME):
        return TORCH_INDEX_NAME
    return None


def _read_shards(folder: Path, names: Iterable[str]) -> dict[str, CheckpointTensor]:
    tensors: dict[str, CheckpointTensor] = {}
    for shard in sorted(names):
        path = find_file(folder, shard)
        read = read_header if path.suffix == ".safetensors" else read_torch_header
        for name, tensor in read(path).items():
            if name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {name!r} is in both {tensors[name].shard.path.name} and "
                    f"{shard}; remove the file that does not belong to this checkpoint"
                )
            tensors[name] = tensor
    return tensors


def _shards_without_index(folder: Path) -> list[str]:
    found = ([path.name for path in folder.glob(pattern)] for pattern in PATTERNS)
    names = next(filter(None, found), None)
    if names is None:
        what = describe(folder) or "is this the folder of a checkpoint?"
        raise MissingFileError(f"{folder}: no model*.safetensors; {what}")
    for match in filter(None, map(NUMBERED.fullmatch, names)):
        total, suffix = int(match[3]), match[0][match.end(3) :]
        for i in range(1, total + 1):
            shard = f"{match[1]}-{i:05d}-of-{match[3]}{suffix}"
            if shard not in names:
                raise MissingFileError(
                    f"{folder}: shard {shard!r} of {total} is missing; is the download complete?"
                )
    return names


def check_index(
    folder: Path, index: str, weight_map: dict[str, str], tensors: dict[str, CheckpointTensor]
) -> None:
    """Check that shards and index agree.

    Raises
    ------
    CheckpointError
        A tensor is in one but not in the other.
    """
    for name, shard in weight_map.items():
        if name not in tensors or tensors[name].shard.path.name != shard:
            raise CheckpointError(
                f"{folder / shard}: tensor {name!r} is missing, though {index} lists it for "
                "this file; is the download complete?"
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise CheckpointError(
                f"{tensor.shard.path}: tensor {name!r} is not in {index}; "
                "do the files belong to the same checkpoint?"
            )


def shards_of(tensors: Mapping[str, CheckpointTensor]) -> tuple[Shard, ...]:
    """Return the files of tensors, each once."""
    return tuple(dict.fromkeys(tensor.shard for tensor in tensors.values()))


def identity_of(shards: Sequence[Shard], *more: str) -> str:
    """Return a digest that changes when the content of a file does, or what else decides."""
    with ThreadPoolExecutor(N_SAMPLERS) as pool:  # disks answer several questions at a time
        found = sorted(pool.map(lambda shard: shard.identity, shards))
    return hashlib.sha256("\n".join([*found, *more]).encode("utf-8", "replace")).hexdigest()
