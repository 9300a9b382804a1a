"""Codecs, and the layout that their encoders work in.

ggml sums a block's weights one after the other, in float32. To get its bits at numpy's speed, an
encoder turns its rows into *planes*: a row of the array is one position inside the (sub-)block,
a column is one (sub-)block. Looping over positions keeps ggml's order of operations, and each
step still works on thousands of blocks.

::

    a row                              planes: one column per sub-block
    | w0 w1 w2 ... | w0 w1 w2 ... |    position 0 | w0 w0 ...
      sub-block 0    sub-block 1      position 1 | w1 w1 ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats as Floats
from ggufkit.types import TensorType

Bytes: TypeAlias = NDArray[Any]
"""An array of uint8; numpy's stubs lose the type of ``codes & 15``."""
Blocks: TypeAlias = NDArray[Any]
"""An array (n_blocks,) of a codec's structured layout."""


@dataclass(frozen=True)
class Codec:
    """How blocks of one tensor type become floats, and back.

    Both functions are pure and expect the caller to silence numpy's floating point warnings:
    ggml divides by zero and overflows in places, with a defined result.

    Parameters
    ----------
    type : TensorType
        The tensor type.
    layout : numpy.dtype
        One block, field by field; ``layout.itemsize == type.type_size``.
    decode : callable
        (n_blocks,) of `layout` -> (n_blocks, block_size) float32.
    encode : callable, optional
        ``encode(rows, importance)``: rows (n_rows, n_cols) float32, C-contiguous and finite;
        importance (n_cols,) float32 or None -> (n_rows * n_cols / block_size,) of `layout`.
    needs_importance : bool
        Whether `encode` refuses to work without importance.
    """

    type: TensorType
    layout: np.dtype[Any]
    decode: Callable[[Blocks], NDArray[Any]]
    encode: Callable[[Floats, Floats | None], Blocks] | None = None
    needs_importance: bool = False


def planes(rows: Floats, n_pos: int, n_sub: int = 1) -> Floats:
    """Transpose rows so that a column is a sub-block.

    Parameters
    ----------
    rows : (n_rows, n_cols) float32
        Whole blocks of ``n_sub * n_pos`` weights.
    n_pos : int
        Weights per sub-block.
    n_sub : int
        Sub-blocks per block.

    Returns
    -------
    (n_pos, n_sub * n_blocks) float32
        Column ``s * n_blocks + b`` is sub-block s of block b.
    """
    n_blocks = rows.size // (n_sub * n_pos)
    out = np.empty((n_pos, n_sub, n_blocks), np.float32)
    np.copyto(out, rows.reshape(n_blocks, n_sub, n_pos).transpose(2, 1, 0))
    return out.reshape(n_pos, n_sub * n_blocks)


def importance_planes(importance: Floats, n_rows: int, n_pos: int, n_sub: int = 1) -> Floats:
    """Lay one row's importance out like `planes` of `n_rows` rows."""
    row = planes(importance.reshape(1, -1), n_pos, n_sub).reshape(n_pos, n_sub, 1, -1)
    shape = (n_pos, n_sub, n_rows, row.shape[-1])
    return np.ascontiguousarray(np.broadcast_to(row, shape)).reshape(n_pos, -1)


def blockwise(values: NDArray[Any], n_sub: int = 1) -> NDArray[Any]:
    """Undo `planes`: (n, n_sub * n_blocks) -> (n_blocks, n_sub * n), C-contiguous."""
    n = values.shape[0]
    by_block = values.reshape(n, n_sub, -1).transpose(2, 1, 0)
    return np.ascontiguousarray(by_block).reshape(-1, n_sub * n)


def natural(codes: NDArray[Any], n_sub: int = 1) -> Bytes:
    """Undo `planes` for codes below 256: -> (n_blocks, n_sub * n_pos) uint8."""
    return blockwise(codes.astype(np.uint8, copy=False), n_sub)


def half(values: NDArray[Any]) -> NDArray[np.float16]:
    """Round float32 to the little-endian float16 of a block, as ggml does."""
    return values.astype("<f2")
