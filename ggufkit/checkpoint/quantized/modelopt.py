"""NVIDIA ModelOpt: NVFP4 and FP8, also mixed; the parts of a weight tell its format.

::

    NVFP4  NAME.weight          U8, (n_rows, n_cols / 2), see `fp4`
           NAME.weight_scale    F8_E4M3, (n_rows, n_cols / 16)
           NAME.weight_scale_2  F32, ()           w = E2M1(code) * scale * scale_2
    FP8    NAME.weight          F8_E4M3, with NAME.weight_scale F32, () or per row or block

``hf_quant_config.json`` only repeats what the parts say, and is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggufkit.checkpoint.quantized import fp4, fp8
from ggufkit.checkpoint.quantized.view import PlainView
from ggufkit.errors import CheckpointError


def find(view: PlainView, config: Mapping[str, Any]) -> str:  # noqa: ARG001
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The layout is not supported, or parts are missing or do not fit.
    """
    kinds: set[str] = set()
    view.hidden.update(name for name in view.stored if name.endswith(fp8.ELSEWHERE))
    for name, tensor in view.stored.items():
        if not name.endswith(".weight") or tensor.dtype not in ("U8", *fp8.TABLES):
            continue
        if f"{name.removesuffix('.weight')}.pre_quant_scale" in view.stored:
            raise CheckpointError(
                f"{name}: ModelOpt's AWQ (pre_quant_scale) can't be read; use NVFP4 or FP8"
            )
        view.hide(name, ("_scale", "_scale_2"))
        if tensor.dtype == "U8":
            scales = view.part(f"{name}_scale"), view.part(f"{name}_scale_2")
            view.put(name, tensor, *fp4.nvfp4(tensor, *scales, inverse=False))
            kinds.add("NVFP4")
        elif len(tensor.shape) == 2:
            packed = fp8.scaled(tensor, view.stored.get(f"{name}_scale"))
            view.put(name, tensor, tensor.shape, packed)
            kinds.add("FP8")
    return f"ModelOpt {' and '.join(sorted(kinds))}, dequantized"
