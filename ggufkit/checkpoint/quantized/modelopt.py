"""NVIDIA ModelOpt: NVFP4 and FP8, also mixed; each weight is read by the parts that it has.

::

    NVFP4  NAME.weight          U8, (n_rows, n_cols / 2), see `fp4`
           NAME.weight_scale    F8_E4M3, (n_rows, n_cols / 16)
           NAME.weight_scale_2  F32, ()           w = E2M1(code) * scale * scale_2
    FP8    NAME.weight          F8_E4M3, with NAME.weight_scale F32, () or per row or block

``hf_quant_config.json`` repeats what the parts say and is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufkit.checkpoint.quantized import fp4, fp8
from ggufkit.checkpoint.quantized.packed import Tensors, part, renamed, virtual
from ggufkit.errors import CheckpointError


def find(tensors: Tensors, config: Mapping[str, Any]) -> tuple[Tensors, str]:  # noqa: ARG001
    """Return plain tensors for the packed ones.

    Raises
    ------
    CheckpointError
        Another layout, or parts that are missing or do not fit.
    """
    new: Tensors = {}
    kinds: set[str] = set()
    drop = {name for name in tensors if name.endswith(fp8.ELSEWHERE)}
    for name, tensor in tensors.items():
        if not name.endswith(".weight") or tensor.dtype not in ("U8", *fp8.TABLES):
            continue
        if f"{name.removesuffix('.weight')}.pre_quant_scale" in tensors:
            raise CheckpointError(
                f"{name}: ModelOpt's AWQ (pre_quant_scale) can't be read; known are NVFP4 and FP8"
            )
        drop |= {f"{name}_scale", f"{name}_scale_2"}
        if tensor.dtype == "U8":
            scales = part(tensors, f"{name}_scale"), part(tensors, f"{name}_scale_2")
            found = fp4.nvfp4(tensor, *scales, inverse=False)
            new[name] = virtual(tensor, name, *found)
            kinds.add("NVFP4")
        elif len(tensor.shape) == 2:
            packed = fp8.scaled(tensor, tensors.get(f"{name}_scale"))
            new[name] = virtual(tensor, name, tensor.shape, packed)
            kinds.add("FP8")
    return renamed(tensors, drop, new), f"ModelOpt {' and '.join(sorted(kinds))}, widened"


def is_modelopt(tensors: Tensors) -> bool:
    """Whether there are ModelOpt's parts, in a checkpoint whose config.json says nothing."""
    return any(name.endswith(".weight_scale_2") for name in tensors) or any(
        tensor.dtype in fp8.TABLES and f"{name}_scale" in tensors
        for name, tensor in tensors.items()
    )
