"""The shards of a checkpoint: which safetensors files it consists of, in llama.cpp's order.

The order matters: ``convert_hf_to_gguf.py`` writes tensors in the order in which it meets them,
shards sorted by file name and, inside a shard, tensors sorted by name as plain strings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ggufkit.checkpoint.files import MAX_INDEX_BYTES, find_file, has_file, read_json
from ggufkit.checkpoint.safetensors import read_header
from ggufkit.errors import CheckpointError, MissingFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ggufkit.checkpoint.safetensors import CheckpointTensor

INDEX_NAME = "model.safetensors.index.json"
SHARD_NAME = re.compile(r"[\w.\-]+\.safetensors", re.ASCII)
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


def read_index(folder: Path) -> dict[str, str]:
    """Return the index's ``weight_map``: tensor name to shard file name.

    Raises
    ------
    MissingFileError
        The checkpoint has no index.
    CheckpointError
        The index is malformed or names a file outside the folder.
    """
    weight_map = read_json(folder, INDEX_NAME, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder / INDEX_NAME}: 'weight_map' is missing or empty")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            raise CheckpointError(
                f"{folder / INDEX_NAME}: the shard name {str(shard)[:200]!r} is not allowed; "
                "shards are plain *.safetensors names in the same folder"
            )
    return weight_map


def read_tensors(folder: Path) -> dict[str, CheckpointTensor]:
    """Return every tensor of a checkpoint, in the order of ``convert_hf_to_gguf.py``.

    Raises
    ------
    MissingFileError
        A shard, or every weight file, is absent.
    CheckpointError
        A shard is malformed, or shards and index contradict each other.
    """
    if has_file(folder, INDEX_NAME):
        weight_map = read_index(folder)
        tensors = _read_shards(folder, set(weight_map.values()))
        _check_index(folder, weight_map, tensors)
        return tensors
    return _read_shards(folder, _shards_without_index(folder))


def _read_shards(folder: Path, names: Iterable[str]) -> dict[str, CheckpointTensor]:
    tensors: dict[str, CheckpointTensor] = {}
    for shard in sorted(names):
        for name, tensor in read_header(find_file(folder, shard)).items():
            if name in tensors:
                raise CheckpointError(
                    f"{folder}: tensor {name!r} is in both {tensors[name].shard.path.name} and "
                    f"{shard}; remove the file that does not belong to this checkpoint"
                )
            tensors[name] = tensor
    return tensors


def _shards_without_index(folder: Path) -> list[str]:
    names = [path.name for path in folder.glob("model*.safetensors")]
    if not names:
        raise MissingFileError(f"{folder}: no model*.safetensors{_other_weights(folder)}")
    for match in filter(None, map(NUMBERED.fullmatch, names)):
        total = int(match[3])
        for i in range(1, total + 1):
            shard = f"{match[1]}-{i:05d}-of-{match[3]}.safetensors"
            if shard not in names:
                raise MissingFileError(
                    f"{folder}: shard {shard!r} is missing, of {total}; is the download complete?"
                )
    return names


def _other_weights(folder: Path) -> str:
    """Say what else the folder holds, for an error."""
    for pattern in ("consolidated*.safetensors", "*.bin", "*.pth", "*.pt", "*.gguf"):
        for path in folder.glob(pattern):
            return f" (found {path.name}); only Hugging Face's safetensors checkpoints can be read"
    return "; is this the folder of a checkpoint?"


def _check_index(
    folder: Path, weight_map: dict[str, str], tensors: dict[str, CheckpointTensor]
) -> None:
    for name, shard in weight_map.items():
        if name not in tensors or tensors[name].shard.path.name != shard:
            raise CheckpointError(
                f"{folder / shard}: tensor {name!r} is missing, though {INDEX_NAME} says that "
                "this file has it; is the download complete?"
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise CheckpointError(
                f"{tensor.shard.path}: tensor {name!r} is not in {INDEX_NAME}; "
                "the files belong to different checkpoints"
            )
