"""The MXFP4 experts of gpt-oss.

::

    NAME_blocks  U8, (n_experts, n_out, n_in / 32, 16)   two codes a byte, the lower nibble first
    NAME_scales  U8, (n_experts, n_out, n_in / 32)       exponents, 2**(byte - 127)

The dequantized tensor keeps the name NAME_blocks: in 16-bit checkpoints, NAME is the same stack
with transposed matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufkit.checkpoint.quantized import fp4
from ggufkit.checkpoint.quantized.packed import Tensors, dequantized_tensor, part, replace_tensors


def find(tensors: Tensors, config: Mapping[str, Any]) -> tuple[Tensors, str]:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        Parts are missing or do not fit.
    """
    new: Tensors = {}
    drop: set[str] = set()
    for name, blocks in tensors.items():
        if not name.endswith("_blocks"):
            continue
        scales = part(tensors, f"{name.removesuffix('_blocks')}_scales")
        shape, packed = fp4.mxfp4(blocks, scales, native=True)
        new[name] = dequantized_tensor(blocks, name, shape, packed)
        drop.add(scales.name)
    return replace_tensors(tensors, drop, new), "MXFP4" if new else ""
