"""Which weights a type can hold: NaN, infinity and the too large are found, never encoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggufkit import kernels
from ggufkit.codecs.base import Blocks, Bytes, Codec, Floats
from ggufkit.types import TensorType

Mask = NDArray[np.bool_]

# No float16 scale reaches this far; a little further ggml's sums overflow and it writes zeros.
TOO_LARGE = float(np.float32(1e11))

# Bits of infinity in the plain types that a float32 may be too large for.
INFINITY = {TensorType.F16: 0x7C00, TensorType.BF16: 0x7F80}


def limit_of(codec: Codec) -> float | None:
    """Return what every weight has to be below; None for plain types, which hold all."""
    if not codec.type.is_quantized:
        return None
    return np.inf if codec.type is TensorType.MXFP4 else TOO_LARGE


def unrepresentable(codec: Codec, values: Floats) -> Mask:
    """Return which of `values` a block type can't take."""
    limit = limit_of(codec)
    return ~(np.abs(values) < (np.inf if limit is None else limit))


def all_below(values: Floats, limit: float) -> bool:
    """Whether the absolute value of every weight is below `limit`; NaN is not."""
    # NaN is neither above nor below anything, and wins both reductions
    return values.size == 0 or bool(-limit < values.min() and values.max() < limit)


def overflowed(codec: Codec, values: Floats, data: Bytes) -> Mask | None:
    """Return which weights became infinite, themselves or by their scale; None if none did.

    Parameters
    ----------
    codec : Codec
        The type.
    values : (n_rows, n_cols) float32
        What was encoded.
    data : (n_rows, row_size) uint8
        What it was encoded to.
    """
    blocks = data.view(codec.layout)
    if codec.type.is_quantized:
        broken = broken_blocks(codec, blocks)
        lost = np.repeat(broken, codec.type.block_size, axis=1) if broken.any() else broken
    elif codec.type in INFINITY:
        lost = blocks.view(np.uint16) & 0x7FFF == INFINITY[codec.type]
        lost &= np.isfinite(values)
    else:
        return None
    return lost if lost.any() else None


def broken_blocks(codec: Codec, blocks: Blocks) -> Mask:
    """Find the blocks whose scale is not finite.

    Parameters
    ----------
    codec : Codec
        Of a block type.
    blocks : (n_rows, blocks of a row) of the codec's layout
        What is encoded.

    Returns
    -------
    (n_rows, blocks of a row) bool
    """
    names = codec.layout.names or ()
    scales = [name for name in names if codec.layout[name].kind == "f"]
    broken = np.zeros(blocks.shape, np.bool_)
    for name in scales:
        broken |= ~np.isfinite(blocks[name])
    if not scales:  # the scale has a form of its own
        broken |= ~np.isfinite(_decoded(codec, blocks)).all(axis=2)
    return broken


def _decoded(codec: Codec, blocks: Blocks) -> Floats:
    """Decode to (n_rows, blocks of a row, block_size)."""
    decoder = kernels.decoder(codec.type)
    if decoder is None:
        return codec.decode(blocks.reshape(-1)).reshape(*blocks.shape, -1)
    n_rows, n_blocks = blocks.shape
    weights = np.empty((n_rows, n_blocks * codec.type.block_size), np.float32)
    decoder(blocks.view(np.uint8).reshape(n_rows, -1), weights)
    return weights.reshape(n_rows, n_blocks, -1)
