"""What the head of a GGUF file says, as values for tables and JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggufkit.gguf.metadata import Metadata
    from ggufkit.gguf.model import GGUFModel


def as_json(file: GGUFModel, wanted: Callable[[str], bool] = lambda _: True) -> dict[str, Any]:
    """Return everything in the header of a file, ready for `json.dump`."""
    return {
        "files": [{"name": file_name(p), "size": p.file_size} for p in file.parts],
        "version": file.version,
        "byte_order": "little" if file.parts[0].byte_order == "<" else "big",
        "alignment": file.alignment,
        "size": file.file_size,
        "summary": summary(file),
        "types": type_mix(file),
        "metadata": {k: _json_pair(file.metadata, k) for k in file.metadata if wanted(k)},
        "tensors": [
            {
                "name": info.name,
                "type": info.type.name,
                "shape": list(info.shape),
                "n_weights": info.n_weights,
                "n_bytes": info.nbytes,
                "file": file_name(file.part_of(info.name)),
                "offset": file.part_of(info.name).data_offset + info.offset,
            }
            for info in file.tensors.values()
            if wanted(info.name)
        ],
    }


def summary(file: GGUFModel) -> dict[str, Any]:
    """Return what identifies a model; None for what the file does not say."""
    metadata = file.metadata
    n_weights = sum(info.n_weights for info in file.tensors.values())
    n_bytes = sum(info.nbytes for info in file.tensors.values())
    architecture = metadata.get("general.architecture")
    return {
        "name": metadata.get("general.name"),
        "type": metadata.get("general.type"),
        "architecture": architecture,
        "file_type": _file_type(metadata),
        "n_weights": n_weights,
        "tensor_bytes": n_bytes,
        "bits_per_weight": 8 * n_bytes / n_weights if n_weights else None,
        "context_length": metadata.get(f"{architecture}.context_length"),
        "vocab_size": _vocab_size(metadata),
    }


def type_mix(file: GGUFModel) -> list[dict[str, Any]]:
    """Return per tensor type the tensors, weights and bytes, most bytes first."""
    mix: dict[str, dict[str, Any]] = {}
    for info in file.tensors.values():
        row = mix.setdefault(
            info.type.name,
            {"type": info.type.name, "n_tensors": 0, "n_weights": 0, "n_bytes": 0},
        )
        row["n_tensors"] += 1
        row["n_weights"] += info.n_weights
        row["n_bytes"] += info.nbytes
    return sorted(mix.values(), key=lambda row: -int(row["n_bytes"]))


def file_name(part: Any) -> str | None:
    """Return the name of a part's file, None for a buffer."""
    return part.path.name if part.path else None


def _file_type(metadata: Metadata) -> str | None:
    from ggufkit.types import FileType

    number = metadata.get("general.file_type")
    if not isinstance(number, int):
        return None
    return FileType(number).name if number in set(FileType) else str(number)


def _vocab_size(metadata: Metadata) -> int | None:
    try:
        return metadata.n_items_of("tokenizer.ggml.tokens")
    except (KeyError, TypeError):
        return None


def _json_pair(metadata: Metadata, key: str) -> dict[str, Any]:
    pair: dict[str, Any] = {"type": metadata.type_of(key).name}
    if pair["type"] == "ARRAY":
        pair["items"] = metadata.item_type_of(key).name
    pair["value"] = metadata[key]
    return pair
