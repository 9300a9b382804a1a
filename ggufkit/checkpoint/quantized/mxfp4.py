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
from ggufkit.checkpoint.quantized.view import PlainView


def find(view: PlainView, config: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        Parts are missing or do not fit.
    """
    for stem, blocks in view.with_suffix("_blocks"):
        scales = view.part(f"{stem}_scales")
        view.put(blocks.name, blocks, *fp4.mxfp4(blocks, scales, native=True))
        view.hidden.add(scales.name)
    return "MXFP4" if view.weights else ""
