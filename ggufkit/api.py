"""The verbs that read and write single files: `open`, `dequantize`, `save`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit import codecs
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.reader import Tensor
from ggufkit.gguf.writer import write
from ggufkit.types import TensorType

#: Larger tensors are read and decoded piece by piece.
PIECE_BYTES = 64 << 20


def open(path: str | os.PathLike[str], *, strict: bool = True) -> GGUFModel:  # noqa: A001
    """Open a GGUF file, or all parts of a split one.

    Nothing of the weights is read until a tensor's data is used; arrays of the metadata are
    decoded on first use.

    Parameters
    ----------
    path : path-like
        The file, or any part of a split.
    strict : bool
        Refuse text that is not UTF-8.

    Raises
    ------
    FormatError
        The file breaks the format.

    Examples
    --------
    >>> import numpy as np, tempfile, ggufkit
    >>> path = tempfile.mkdtemp() + "/tiny.gguf"
    >>> weights = np.ones((4, 32), np.float32)
    >>> data = {"blk.0.ffn_up.weight": (weights, ggufkit.TensorType.Q8_0)}
    >>> _ = ggufkit.save(path, {"general.architecture": "llama", "llama.block_count": 1}, data)
    >>> with ggufkit.open(path) as model:
    ...     model.metadata["llama.block_count"], list(model)
    ...     ggufkit.dequantize(model["blk.0.ffn_up.weight"]).shape
    (1, ['blk.0.ffn_up.weight'])
    (4, 32)
    """
    return open_gguf(path, strict=strict)


def dequantize(
    data: Tensor | NDArray[np.uint8],
    type: TensorType | None = None,  # noqa: A002 - the field's name
    *,
    out: NDArray[np.float32] | None = None,
    jobs: int = 1,
) -> NDArray[np.float32]:
    """Decode a tensor of a file, or tensor data of a given type, to float32.

    Parameters
    ----------
    data : Tensor or (..., row_size) uint8
        A tensor of `open`'s result, or tensor data.
    type : TensorType, optional
        Only for tensor data: what it is.
    out, jobs
        See `ggufkit.codecs.dequantize`.

    Returns
    -------
    (..., n_cols) float32
        The weights.

    Raises
    ------
    CodecError
        The type can't be decoded, or the rows are not whole blocks.
    """
    if isinstance(data, Tensor):
        return _dequantize_tensor(data, out, jobs)
    if type is None:
        raise TypeError("dequantize() needs the tensor type of bare data")
    return codecs.dequantize(data, type, out=out, jobs=jobs)


def _dequantize_tensor(
    tensor: Tensor, out: NDArray[np.float32] | None, jobs: int
) -> NDArray[np.float32]:
    fits = out is None or (
        out.shape == tensor.shape and out.dtype == np.float32 and out.flags.c_contiguous
    )
    if tensor.info.nbytes <= PIECE_BYTES or not fits:
        return codecs.dequantize(tensor.data, tensor.type, out=out, jobs=jobs).reshape(tensor.shape)
    weights = np.empty(tensor.shape, np.float32) if out is None else out
    rows = weights.reshape(-1, tensor.shape[-1])
    step = max(1, PIECE_BYTES // tensor.info.data_shape[-1])
    for start in range(0, len(rows), step):
        stop = min(start + step, len(rows))
        codecs.dequantize(tensor.rows(start, stop), tensor.type, out=rows[start:stop], jobs=jobs)
    return weights.reshape(tensor.shape)


def save(
    path: str | os.PathLike[str],
    metadata: Metadata | Mapping[str, Any],
    tensors: Mapping[str, tuple[NDArray[Any], TensorType]],
) -> Path:
    """Write a GGUF file, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; one of that name is replaced.
    metadata : Metadata or mapping
        A plain mapping may hold standard keys only: other keys need a type.
    tensors : mapping of str to (array, TensorType)
        Weights in float32, float16 or bfloat16, and what to encode them to; uint8 arrays are
        taken as data of that type.

    Raises
    ------
    GGUFKitError
        Something does not fit the format, or the file can't be written.
    """
    keys = metadata if isinstance(metadata, Metadata) else Metadata(metadata)
    encoded: dict[str, NDArray[Any]] = {}
    specs = []
    for name, (values, tensor_type) in tensors.items():
        if values.dtype == np.uint8 and tensor_type is not TensorType.I8:
            n_cols = values.shape[-1] // tensor_type.type_size * tensor_type.block_size
            encoded[name], shape = values, (*values.shape[:-1], n_cols)
        else:
            encoded[name], shape = codecs.quantize(values, tensor_type), values.shape
        specs.append((name, shape, tensor_type))
    return write(path, plan_layout(keys, specs), encoded)
