"""AWQ (gemm): 4-bit codes, packed along the outputs in an interleaved order.

::

    NAME.qweight  I32, (n_in, n_out / 8)       nibble i of a word is output ORDER[i] of its 8
    NAME.qzeros   I32, (n_groups, n_out / 8)   likewise
    NAME.scales   F16, (n_groups, n_out)

    w[out, in] = scales[g, out] * (q[in, out] - zeros[g, out]),  g = in / group_size
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.quantized.packed import FLOATS, floats, unpack, whole
from ggufkit.checkpoint.quantized.view import PlainView, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.errors import CheckpointError

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class AWQ(QuantizedWeight):
    """A weight in groups of 4-bit integers."""

    qweight: CheckpointTensor
    qzeros: CheckpointTensor
    scales: CheckpointTensor
    group_size: int

    def rows(self, start: int, stop: int) -> Floats:
        """Return rows (outputs) as float32, each over all columns (inputs)."""
        first, last = start // 8, -(-stop // 8)
        inside = slice(start - 8 * first, stop - 8 * first)
        codes = _ordered(whole(self.qweight)[:, first:last])[:, inside]
        zeros = _ordered(whole(self.qzeros)[:, first:last])[:, inside]
        scales = floats(self.scales)[:, start:stop]
        group = np.arange(codes.shape[0]) // self.group_size
        values = (codes - zeros[group]).astype(np.float32) * scales[group]
        return np.ascontiguousarray(values.T)


def _ordered(words: NDArray[Any]) -> NDArray[np.int32]:
    """Return the codes in words, in the order of the outputs."""
    codes = unpack(words, 4).reshape(*words.shape, 8)
    ordered = np.empty_like(codes)
    ordered[..., list(ORDER)] = codes
    return ordered.reshape(words.shape[0], -1)


def find(view: PlainView, config: Mapping[str, Any]) -> str:
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        The packing is not supported, or parts are missing or do not fit.
    """
    bits = config.get("bits", config.get("w_bit", 4))
    version = str(config.get("version", "gemm")).lower()
    if bits != 4 or version != "gemm":
        raise CheckpointError(
            f"config.json: AWQ {version[:20]} with {str(bits)[:20]} bits, expected gemm with 4"
        )
    given = config.get("group_size", config.get("q_group_size"))
    group_size = given
    for stem, qweight in view.with_suffix(".qweight"):
        scales, qzeros = view.part(f"{stem}.scales"), view.part(f"{stem}.qzeros")
        if len(qweight.shape) != 2 or not qweight.shape[0]:
            raise CheckpointError(
                f"{stem}: qweight of shape {qweight.shape}, but AWQ needs a matrix with rows"
            )
        n_in, n_out = qweight.shape[0], qweight.shape[1] * 8
        n_scales = scales.shape[0] if scales.shape else 0
        own = n_in if given is not None else -(-n_in // max(1, n_scales))
        group_size = given if type(given) is int and given > 0 else own
        n_groups = -(-n_in // group_size)
        expect(qweight, (n_in, n_out // 8), ("I32",))
        expect(scales, (n_groups, n_out), FLOATS)
        expect(qzeros, (n_groups, n_out // 8), ("I32",))
        packed = AWQ(qweight, qzeros, scales, group_size)
        view.put(f"{stem}.weight", qweight, (n_out, n_in), packed)
        view.hide(stem, (".qweight", ".qzeros", ".scales"))
    return f"AWQ, 4 bits, groups of {group_size}, dequantized"
