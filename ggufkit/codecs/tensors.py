"""`quantize` and `dequantize`: whole tensors, tile by tile, on one or more threads.

::

    values (..., n_rows, n_cols) -> one matrix per leading index -> tiles of whole rows
    tile -> float32 -> finite? -> kernel or codec -> scales finite? -> its place in the result

A tile is small enough for the planes of a search to stay in a core's cache, so nothing but the
result is ever as large as the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ggufkit import kernels
from ggufkit.codecs.base import Bytes, Codec, Floats
from ggufkit.codecs.formats.plain import as_float32, is_bf16
from ggufkit.codecs.range_checks import all_below, limit_of, overflowed, unrepresentable
from ggufkit.codecs.table import CODECS
from ggufkit.errors import (
    CodecError,
    ImportanceRequiredError,
    NoEncoderError,
    NotBlockAlignedError,
    NotFiniteError,
)
from ggufkit.types import Search, TensorType

TILE_WEIGHTS = 1 << 16
# A kernel has tiles of its own, but each call costs some Python, which threads take turns in.
# So every thread gets a few long stretches; an encoder's are bounded, since float16 is widened.
STRETCHES_PER_JOB = 2
KERNEL_TILE_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class _Matrix:
    """A 2-D part of a tensor: its leading index, its rows, where they go, their importance."""

    index: tuple[int, ...]
    source: NDArray[Any]
    target: NDArray[Any]
    importance: Floats | None = None


def quantize(
    values: ArrayLike,
    type: TensorType,  # noqa: A002 - the field's name
    *,
    importance: ArrayLike | None = None,
    search: Search = "ggml",
    out: Bytes | None = None,
    jobs: int = 1,
) -> Bytes:
    """Encode a tensor, with the bytes that ``ggml_quantize_chunk`` would write.

    Parameters
    ----------
    values : (..., n_cols) array of float32, float16 or bfloat16
        The last axis is a row, whole blocks of weights. Values whose dtype is that of `type`
        (float64 for F64, int8 for I8 ...) are copied. bfloat16 is any dtype of that name.
    type : TensorType
        What to encode to.
    importance : (n_cols,) or (..., n_cols) float32, optional
        What an error in each column counts: one vector for all rows, or one per matrix, of shape
        ``values.shape[:-2] + (n_cols,)``. Types that do not use it ignore it.
    search : {"ggml", "thorough"}
        How scales are found: with ggml's result, or a wider search with a smaller squared error
        (`ggufkit.codecs.thorough`), for the types that have one.
    out : (..., row_size) uint8, optional
        Where to put the result.
    jobs : int
        Threads.

    Returns
    -------
    (..., row_size) uint8
        `out`, or a new array.

    Raises
    ------
    UnknownTensorTypeError, NoEncoderError, ImportanceRequiredError
        `type` can't be encoded to, at all or without importance.
    NotBlockAlignedError
        A row is not whole blocks.
    NotFiniteError
        A weight of a block type is NaN or infinite, or too large for the type.
    CodecError
        Another dtype, or a shape that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from ggufkit.types import Search, TensorType
    >>> quantize(np.ones((2, 64), np.float32), TensorType.Q8_0).shape
    (2, 68)
    """
    codec = CODECS[type]
    array = np.asanyarray(values)
    n_cols = _row_length(array, codec)
    shape = (*array.shape[:-1], codec.type.row_size(n_cols))
    result = _output(out, shape, np.dtype(np.uint8))
    if _is_stored_as(array.dtype, codec):
        result.view(codec.layout)[...] = array.view(codec.layout)
        return result
    weights = None if importance is None else _importance(importance, array.shape)
    encode = partial(_encode_tile, _encoder(codec, weights, search))
    tile = TILE_WEIGHTS
    if search == "ggml" and kernels.encoder(codec.type) is not None:
        tile = min(KERNEL_TILE_WEIGHTS, _stretch(array.size, jobs))
    _run(encode, _matrices(array, result, weights), max(1, tile // max(1, n_cols)), jobs)
    return result


def dequantize(
    data: ArrayLike,
    type: TensorType,  # noqa: A002 - the field's name
    *,
    out: Floats | None = None,
    jobs: int = 1,
) -> Floats:
    """Decode tensor data, bit for bit as ggml's ``to_float``.

    Parameters
    ----------
    data : (..., row_size) uint8
        Whole blocks.
    type : TensorType
        What `data` is.
    out : (..., n_cols) float32, optional
        Where to put the result.
    jobs : int
        Threads.

    Returns
    -------
    (..., n_cols) float32
        `out`, or a new array.

    Raises
    ------
    UnknownTensorTypeError
        `type` is unknown.
    NotBlockAlignedError
        A row is not whole blocks.
    CodecError
        `data` is not uint8, or `out` does not fit.
    """
    codec = CODECS[type]
    array = np.asanyarray(data)
    if array.dtype != np.uint8:
        raise CodecError(f"{codec.type.name} data must be uint8, not {array.dtype}: view the bytes")
    row_size = array.shape[-1] if array.ndim else 0
    if array.ndim == 0 or row_size % codec.type.type_size:
        raise NotBlockAlignedError(
            f"a row of {row_size} bytes is not whole {codec.type.name} blocks of "
            f"{codec.type.type_size} bytes: pass shape (..., row_size)"
        )
    n_cols = row_size // codec.type.type_size * codec.type.block_size
    result = _output(out, (*array.shape[:-1], n_cols), np.dtype(np.float32))
    decoder = kernels.decoder(codec.type)
    decode = partial(_decode_tile, codec, decoder)
    tile = TILE_WEIGHTS
    if decoder is not None and result.flags.c_contiguous:
        tile = _stretch(result.size, jobs)
    _run(decode, _matrices(array, result, None), max(1, tile // max(1, n_cols)), jobs)
    return result


def _stretch(size: int, jobs: int) -> int:
    """Return the weights of a thread's stretch of `size`."""
    return max(TILE_WEIGHTS, -(-size // (max(1, jobs) * STRETCHES_PER_JOB)))


def _row_length(array: NDArray[Any], codec: Codec) -> int:
    n_cols = array.shape[-1] if array.ndim else 0
    if array.ndim == 0 or n_cols % codec.type.block_size:
        raise NotBlockAlignedError(
            f"a row of {n_cols} weights (shape {array.shape}) is not whole {codec.type.name} "
            f"blocks of {codec.type.block_size}: choose a type that fits"
        )
    return n_cols


def _output(out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        raise CodecError(f"out must be {dtype} of shape {shape}, not {out.dtype} of {out.shape}")
    if out.size and out.strides[-1] != dtype.itemsize:
        raise CodecError("out must be contiguous along its last axis")
    return out


def _is_stored_as(dtype: np.dtype[Any], codec: Codec) -> bool:
    """Whether numbers of `dtype` already have the bits that a plain type stores."""
    if codec.type is TensorType.BF16:
        return is_bf16(dtype)
    return not codec.type.is_quantized and dtype == codec.layout


def _importance(importance: ArrayLike, shape: tuple[int, ...]) -> Floats:
    weights = np.asarray(importance, np.float32)
    if weights.shape not in (shape[-1:], (*shape[:-2], shape[-1])):
        raise CodecError(
            f"importance of shape {weights.shape} does not fit weights of shape {shape}: "
            f"give one value per column"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise CodecError("importance must be finite and not negative")
    return weights


def _matrices(
    source: NDArray[Any], target: NDArray[Any], importance: Floats | None
) -> Iterator[_Matrix]:
    """Split a tensor into 2-D parts, each with its importance."""
    if source.size == 0:
        return
    if source.ndim == 1:
        source, target = source[None], target[None]
    if source.ndim == 2:
        yield _Matrix((), source, target, _contiguous(importance))
        return
    for index in np.ndindex(source.shape[:-2]):
        own = importance if importance is None or importance.ndim == 1 else importance[index]
        yield _Matrix(index, source[index], target[index], _contiguous(own))


def _contiguous(importance: Floats | None) -> Floats | None:
    return None if importance is None else np.ascontiguousarray(importance)


def _run(
    work: Callable[[_Matrix, slice], None], matrices: Iterator[_Matrix], step: int, jobs: int
) -> None:
    """Call `work` for every tile of `step` rows; of errors, raise the first tile's."""
    tiles = (
        (matrix, slice(start, start + step))
        for matrix in matrices
        for start in range(0, len(matrix.source), step)
    )
    if jobs <= 1:
        for matrix, rows in tiles:
            work(matrix, rows)
        return
    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(lambda tile: work(*tile), tiles):
            pass


# Encodes rows into the last argument but one, if all weights are below the last: were they?
Encoder = Callable[[Floats, Floats | None, Bytes, float | None], bool]


def _encoder(codec: Codec, importance: Floats | None, search: Search) -> tuple[Codec, Encoder]:
    """Choose the kernel where there is one, else the codec; and the search."""
    if search not in get_args(Search):
        raise CodecError(f"unknown search {search!r}: known are {', '.join(get_args(Search))}")
    name = codec.type.name
    encode = codec.encode
    if encode is None:
        raise NoEncoderError(f"{name} can't be encoded to; choose another tensor type")
    if codec.needs_importance and importance is None:
        raise ImportanceRequiredError(f"{name} needs importance: give an importance matrix")

    def by_codec(rows: Floats, importance: Floats | None, out: Bytes, limit: float | None) -> bool:
        if limit is not None and not all_below(rows, limit):
            return False
        out[...] = encode(rows, importance).view(np.uint8).reshape(out.shape)
        return True

    encoder = kernels.encoder(codec.type) or by_codec
    if search == "ggml":
        return codec, encoder

    def thoroughly(
        rows: Floats, importance: Floats | None, out: Bytes, limit: float | None
    ) -> bool:
        from ggufkit.codecs.thorough import refine

        if not encoder(rows, importance, out, limit):
            return False
        blocks = out.view(codec.layout)
        blocks[...] = refine(codec, rows, importance, blocks.reshape(-1)).reshape(blocks.shape)
        return True

    return codec, thoroughly


def _encode_tile(chosen: tuple[Codec, Encoder], matrix: _Matrix, rows: slice) -> None:
    codec, encoder = chosen
    values = as_float32(matrix.source[rows])
    target = matrix.target[rows]
    data = target if target.flags.c_contiguous else np.empty(target.shape, np.uint8)
    with np.errstate(all="ignore"):
        if encoder(values, matrix.importance, data, limit_of(codec)):
            lost = overflowed(codec, values, data)
        else:
            lost = unrepresentable(codec, values)
    if lost is not None:
        raise _not_finite(codec, values, matrix, rows, lost)
    if data is not target:
        target[...] = data


def _not_finite(
    codec: Codec, values: Floats, matrix: _Matrix, rows: slice, where: NDArray[np.bool_]
) -> NotFiniteError:
    # a whole block is lost by its largest weight; NaN counts as larger than any
    sizes = np.where(np.isnan(values), np.float32(np.inf), np.abs(values))
    largest = int(np.argmax(np.where(where, sizes, np.float32(-1))))
    row, column = np.unravel_index(largest, where.shape)
    index = (*matrix.index, rows.start + int(row), int(column))
    what = "too large" if np.isfinite(values[row, column]) else "not finite"
    return NotFiniteError(
        f"a weight is {what} for {codec.type.name} at index {index}: repair the checkpoint, or "
        f"store this tensor as F32",
        index=index,
    )


def _decode_tile(
    codec: Codec, decoder: Callable[[Bytes, Floats], None] | None, matrix: _Matrix, rows: slice
) -> None:
    data = np.ascontiguousarray(matrix.source[rows])
    target = matrix.target[rows]
    if decoder is not None and target.flags.c_contiguous:
        decoder(data, target)
        return
    with np.errstate(all="ignore"):
        target[...] = codec.decode(data.reshape(-1).view(codec.layout)).reshape(target.shape)
