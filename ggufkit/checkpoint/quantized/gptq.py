"""GPTQ: codes of 2, 3, 4 or 8 bits, packed along the inputs, with scales and zeros per group.

::

    NAME.qweight  I32, (n_in * bits / 32, n_out)       the lowest bits are the first input
    NAME.qzeros   I32, (n_groups, n_out * bits / 32)   minus one, except in gptq_v2
    NAME.scales   F16, (n_groups, n_out)
    NAME.g_idx    I32, (n_in,)                         the group of each input; may be missing

    w[out, in] = scales[g, out] * (q[in, out] - zeros[g, out]),  g = g_idx[in]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ggufkit.checkpoint.quantized.integers import Codes, Integers, lossless_type_of
from ggufkit.checkpoint.quantized.packed import FLOATS, floats, unpack, whole
from ggufkit.checkpoint.quantized.view import PlainView, expect
from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.errors import CheckpointError
from ggufkit.types import TensorType

BITS = (2, 3, 4, 8)


@dataclass(frozen=True)
class GPTQ(Integers):
    """A weight in groups of integers."""

    qweight: CheckpointTensor
    qzeros: CheckpointTensor
    scales: CheckpointTensor
    g_idx: CheckpointTensor | None
    bits: int
    group_size: int
    less_one: bool
    symmetric: bool

    @property
    def lossless_type(self) -> TensorType | None:
        """Q4_0 or Q8_0, if groups are whole blocks with a common zero point."""
        plain = self.symmetric and self.g_idx is None
        return lossless_type_of(self.bits, self.group_size) if plain else None

    def codes(self, start: int, stop: int) -> Codes:
        """Return the codes of rows (outputs), each over all columns (inputs)."""
        words = np.ascontiguousarray(whole(self.qweight)[:, start:stop].T)
        codes = unpack(words, self.bits)
        scales = floats(self.scales)[:, start:stop]
        zeros = unpack(whole(self.qzeros), self.bits)[:, start:stop] + int(self.less_one)
        if self.g_idx is not None:
            group = whole(self.g_idx).astype(np.int64)
        else:
            group = np.arange(codes.shape[1]) // self.group_size
        if group.size and not (group.min() >= 0 and group.max() < len(scales)):
            raise CheckpointError(
                f"{self.qweight.name}: g_idx has values from {group.min()} to {group.max()}, "
                f"expected 0..{len(scales) - 1}"
            )
        return Codes(codes, scales.T, zeros.T, group)


def find(view: PlainView, config: Mapping[str, Any]) -> str:
    """Replace packed tensors by plain ones, and describe the method.

    Raises
    ------
    CheckpointError
        Parts are missing or do not fit.
    """
    bits = config.get("bits")
    if bits not in BITS:
        raise CheckpointError(
            f"config.json: weights quantized by GPTQ, with bits {str(bits)[:20]}, expected one of "
            f"{BITS}. Their settings are in quantization_config, or in quantize_config.json next "
            "to it: take these files from the same repository"
        )
    less_one = config.get("checkpoint_format", "gptq") != "gptq_v2"
    for stem, qweight in view.with_suffix(".qweight"):
        packed = _parts(view, stem, qweight, bits, config, less_one=less_one)
        n_in, n_out = qweight.shape[0] * 32 // bits, qweight.shape[1]
        view.put(f"{stem}.weight", qweight, (n_out, n_in), packed)
        view.hide(stem, (".qweight", ".qzeros", ".scales", ".g_idx"))
        bias = view.stored.get(f"{stem}.bias")
        if bias is not None and not floats(bias).any():  # some packers add it to every layer
            view.hidden.add(bias.name)
    return f"GPTQ, {bits} bits, groups of {config.get('group_size')}, dequantized"


def _parts(
    view: PlainView,
    stem: str,
    qweight: CheckpointTensor,
    bits: int,
    config: Mapping[str, Any],
    *,
    less_one: bool,
) -> GPTQ:
    scales, qzeros = view.part(f"{stem}.scales"), view.part(f"{stem}.qzeros")
    if len(qweight.shape) != 2 or len(scales.shape) != 2 or not scales.shape[0]:
        raise CheckpointError(
            f"{stem}: GPTQ needs matrices, not qweight {qweight.shape} and scales {scales.shape}"
        )
    n_in, n_out = qweight.shape[0] * 32 // bits, qweight.shape[1]
    n_groups = scales.shape[0]
    expect(qweight, (n_in * bits // 32, n_out), ("I32",))
    expect(scales, (n_groups, n_out), FLOATS)
    expect(qzeros, (n_groups, n_out * bits // 32), ("I32",))
    g_idx = view.stored.get(f"{stem}.g_idx")
    if g_idx is not None:
        expect(g_idx, (n_in,), ("I32", "I64"))
    given = config.get("group_size")
    group_size = given if type(given) is int and given > 0 else n_in
    if g_idx is None and -(-n_in // group_size) != n_groups:
        raise CheckpointError(f"{stem}: {n_groups} groups of {group_size} for {n_in} inputs")
    symmetric = config.get("sym") is True
    return GPTQ(qweight, qzeros, scales, g_idx, bits, group_size, less_one, symmetric)
