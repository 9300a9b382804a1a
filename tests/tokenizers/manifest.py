"""`Metadata` in the manifest format of the oracle, so that both compare as lists."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ggufkit.gguf.metadata import Metadata
from ggufkit.types import ValueType

NAMES = {
    ValueType.UINT8: "u8", ValueType.INT32: "i32", ValueType.UINT32: "u32",
    ValueType.FLOAT32: "f32", ValueType.BOOL: "bool", ValueType.STRING: "str",
}  # fmt: skip


def manifest(metadata: Metadata) -> list[dict[str, Any]]:
    """Every key, in order: key, type and value, or an array's length, hash and first items."""
    entries = []
    for key in metadata:
        value = metadata[key]
        if not isinstance(value, list):
            entries.append({"key": key, "type": NAMES[metadata.type_of(key)], "value": value})
            continue
        item_type = metadata.item_type_of(key)
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
        entries.append(
            {
                "key": key,
                "type": f"arr[{NAMES[item_type]}]",
                "len": len(value),
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "first": value[:8],
            }
        )
    return entries
