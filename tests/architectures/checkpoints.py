"""Tiny checkpoints whose weights follow from their names alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np


def weights(name: str, shape: Sequence[int], dtype: str, raised: int = 0) -> bytes:
    """Return a tensor's bytes: random signs, exponents -9 to -2 and `raised`, random mantissas.

    U8 tensors, which hold packed 4-bit blocks or their scales, get any bytes, scales moderate
    ones.
    """
    n = prod(shape)
    if dtype == "U8":
        raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(n), np.uint8)
        return (raw % 16 + 116).astype(np.uint8).tobytes() if "scales" in name else raw.tobytes()
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * n), "<u2")
    bits = (raw & 0x807F) | ((118 + raised + (raw >> 7 & 7)).astype("<u2") << 7)
    if dtype == "F32":
        return (bits.astype("<u4") << 16).tobytes()
    return bits.astype("<u2").tobytes()


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    raised: Callable[[str], int] = lambda _: 0,
) -> None:
    """Write config.json and model.safetensors.

    Parameters
    ----------
    folder : Path
        Where to.
    config : mapping
        What config.json says.
    tensors : mapping
        From names to dtype and shape.
    raised : callable
        From a name to what is added to the exponents of its values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    header: dict[str, Any] = {}
    parts = []
    offset = 0
    for name, (dtype, shape) in sorted(tensors.items()):
        parts.append(weights(name, shape, dtype, raised(name)))
        span = [offset, offset + len(parts[-1])]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": span}
        offset = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = len(text).to_bytes(8, "little") + text + b"".join(parts)
    (folder / "model.safetensors").write_bytes(data)
