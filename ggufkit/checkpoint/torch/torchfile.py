"""Torch checkpoints (``pytorch_model.bin``, ``.pt``, ``.pth``) without torch.

A ZIP archive of storages, and a pickle that describes tensors as views of them; see `archive`
and `unpickle`. Tensors in row-major order are plain ranges of the file, as in safetensors; others
(saved transposed) keep their strides and are reordered when they are read.
"""

from __future__ import annotations

import math
import os
from typing import IO, TYPE_CHECKING

from ggufkit.checkpoint.safetensors import DTYPE_BITS, CheckpointTensor, ShardFile
from ggufkit.checkpoint.torch.archive import Span, read_entries
from ggufkit.checkpoint.torch.unpickle import MAX_PICKLE_BYTES, PickledTensor, unpickle_tensors
from ggufkit.errors import CheckpointError
from ggufkit.io.file_kinds import HEAD_BYTES, or_else

if TYPE_CHECKING:
    from pathlib import Path

PICKLE_NAME = "data.pkl"


def read_torch_header(path: Path) -> dict[str, CheckpointTensor]:
    """Return the tensors of a torch checkpoint, in its order. Nothing of it is run.

    Raises
    ------
    UnsafePickleError
        The file holds anything but tensors.
    CheckpointError
        The file is damaged, in the format of torch before 1.6, or can't be read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            start = file.read(HEAD_BYTES)
            if start[:4] != b"PK\x03\x04":
                advice = "load it in a sandbox with torch and save it as safetensors"
                raise CheckpointError(
                    f"{path}: not a checkpoint of torch 1.6 or later; {or_else(start, advice)}"
                )
            entries = read_entries(path, file, status.st_size)
            pickled = _read(file, path, entries, PICKLE_NAME, MAX_PICKLE_BYTES)
            order = _read(file, path, entries, "byteorder", 16) if "byteorder" in entries else b""
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
    if order not in (b"", b"little"):
        raise CheckpointError(f"{path}: saved in byte order {order!r}, expected 'little'")
    shard = ShardFile.of(path, status)
    tensors = unpickle_tensors(pickled, f"{path}: {PICKLE_NAME}")
    return {name: _place(name, tensor, shard, entries) for name, tensor in tensors.items()}


def _read(file: IO[bytes], path: Path, entries: dict[str, Span], name: str, limit: int) -> bytes:
    if name not in entries:
        raise CheckpointError(f"{path}: {name} is missing; is this a torch checkpoint?")
    offset, length = entries[name]
    if length > limit:
        raise CheckpointError(f"{path}: {name} has {length} bytes, expected at most {limit}")
    file.seek(offset)
    return file.read(length)


def _place(
    name: str, tensor: PickledTensor, shard: ShardFile, entries: dict[str, Span]
) -> CheckpointTensor:
    """Return where a tensor's data is, after checking that its storage holds all of it."""
    where = f"{shard.path}: tensor {name[:200]!r}"
    entry = entries.get(f"data/{tensor.storage.key}")
    if entry is None:
        raise CheckpointError(f"{where}: its storage {tensor.storage.key[:100]!r} is missing")
    start, length = entry
    item = DTYPE_BITS[tensor.dtype] // 8
    n_elements = math.prod(tensor.shape)
    extent = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    end = tensor.offset + extent + 1 if n_elements else tensor.offset
    # The second condition: strides must not repeat elements until a tensor exceeds its storage.
    if end * item > length or n_elements * item > length:
        raise CheckpointError(
            f"{where}: shape {tensor.shape} with strides {tensor.strides} from element "
            f"{tensor.offset} on exceeds its storage of {length} bytes"
        )
    in_order = n_elements == 0 or _is_in_order(tensor)
    return CheckpointTensor(
        name,
        tensor.shape,
        tensor.dtype,
        shard,
        start + tensor.offset * item,
        n_elements * item,
        None if in_order else tensor.strides,
    )


def _is_in_order(tensor: PickledTensor) -> bool:
    """Whether elements are in row-major order without gaps; axes of length 1 don't matter."""
    expected = 1
    for n, step in reversed([*zip(tensor.shape, tensor.strides, strict=True)]):
        if n != 1 and step != expected:
            return False
        expected *= n
    return True
