"""Safetensors files and checkpoint folders made by hand, independent of the reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "F8_E4M3": 1}

Entry = tuple[str, list[int], bytes]


def safetensors(entries: dict[str, Entry], *, metadata: dict[str, str] | None = None) -> bytes:
    """A well-formed file: name -> (dtype, shape, data), laid out in the order given."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    offset = 0
    for name, (dtype, shape, data) in entries.items():
        header[name] = {
            "dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]
        }  # fmt: skip
        offset += len(data)
    return raw(json.dumps(header).encode(), b"".join(data for _, _, data in entries.values()))


def raw(header: bytes, data: bytes = b"") -> bytes:
    """A file with the given header text, well-formed or not."""
    return struct.pack("<Q", len(header)) + header + data


def f32(*shape: int, start: float = 0.0) -> Entry:
    """Consecutive float32 numbers."""
    n = int(np.prod(shape))
    return "F32", list(shape), (np.arange(n, dtype="<f4") + np.float32(start)).tobytes()


def checkpoint(
    folder: Path, shards: dict[str, dict[str, Entry]], *, index: dict[str, str] | None = None
) -> Path:
    """Write a folder with a config, the shards and, if given, the index's weight map."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    for name, entries in shards.items():
        (folder / name).write_bytes(safetensors(entries))
    if index is not None:
        text = json.dumps({"metadata": {"total_size": 0}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text)
    return folder
