"""Safetensors: check the header of a file, and read rows of its tensors.

::

    | n: u64 | header: n bytes of JSON, space-padded | tensor data, contiguous |

    header = {"__metadata__": {str: str},
              NAME: {"dtype": "BF16", "shape": [32, 64], "data_offsets": [begin, end]}, ...}

Offsets count from the end of the header. The rules are those of the format's specification and
its Rust library: the tensors cover the data without holes or overlaps, and sizes agree with
shapes. Data is read into new buffers, not through mmap: then a conversion uses no more memory
than it allocates, and a file that is truncated while it is read is an error, not a SIGBUS.
"""

from __future__ import annotations

import hashlib
import math
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeGuard

import numpy as np

from ggufkit.errors import CheckpointError, UnsupportedDtypeError
from ggufkit.io.file_kinds import HEAD_BYTES, mistaken_for
from ggufkit.io.guarded_files import parse_json_object
from ggufkit.io.positional import read_range

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path, PurePath

    from numpy.typing import NDArray

    from ggufkit.checkpoint.quantized.base import QuantizedWeight

MAX_HEADER_BYTES = 100_000_000
MAX_ELEMENTS = 2**63 - 1

# Bits per element of every dtype that the format defines.
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip

# Those that hold weights as they are.
WEIGHTS = ("F16", "BF16", "F32", "F64")

# numpy's dtype for the elements; bfloat16 and booleans are read as their bits.
STORAGE = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4",
    "I64": "<i8", "U64": "<u8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


class Shard(Protocol):
    """A file of weights, local or remote. Picklable, since every task carries its shards."""

    @property
    def path(self) -> PurePath:
        """The name, for messages."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    @property
    def identity(self) -> str:
        """A text that changes when the content does."""

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on."""

    def check(self) -> None:
        """Raise `CheckpointError` if the file is known to have changed since it was opened."""


@dataclass(frozen=True)
class CheckpointTensor:
    """A tensor's name, shape and dtype, and where its data is.

    Attributes
    ----------
    name : str
        The name in the checkpoint.
    shape : tuple of int
        The shape, in numpy order; () for a scalar.
    dtype : str
        The dtype as safetensors spells it, such as ``"BF16"``.
    shard : Shard
        The file.
    offset, nbytes : int
        The position in the file and the length, in bytes.
    strides : tuple of int or None
        Elements between consecutive indices of each axis, if the elements are not in row-major
        order (in torch's files only).
    packing : QuantizedWeight or None
        The parts that the rows are dequantized from, if the weight is stored quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    shard: Shard
    offset: int
    nbytes: int
    strides: tuple[int, ...] | None = None
    packing: QuantizedWeight | None = None


@dataclass(frozen=True)
class ShardFile:
    """A file of weights as it was when its header was read.

    Each read opens it again, so that there is nothing to close, threads and processes share
    nothing, and a file that was replaced in the meantime is noticed. So is one that is written to:
    no program can set the time of the last change of status.
    """

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> Self:
        """Return the file whose status was asked for when its header was read."""
        return cls(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def identity(self) -> str:
        """A text that changes when the content does.

        Name, size and a digest: of small files as a whole, of large ones of samples, which are few;
        so for these a change of the time counts, too.
        """
        time = self.mtime_ns if self.size > WHOLE_BYTES else 0
        return f"{self.path.name}\0{self.size}\0{time}\0{_sampled(self)}"

    def check(self) -> None:
        """Raise `CheckpointError` if the file has changed since it was opened."""
        with self.opened():
            pass

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on.

        Raises
        ------
        CheckpointError
            The file can't be read, or has changed since its header was read.
        """
        with self.opened() as file:
            file.seek(offset)
            done = 0
            while done < len(buffer):
                n = file.readinto(buffer[done:])
                if not n:
                    raise CheckpointError(f"{self.path}: ends at byte {offset + done}")
                done += n

    @contextmanager
    def opened(self) -> Iterator[FileIO]:
        """Open the file; it has to be as it was before it is read, and afterwards."""
        try:
            with self.path.open("rb", buffering=0) as file:
                self._check(os.fstat(file.fileno()))
                yield file
                self._check(os.fstat(file.fileno()))
        except OSError as error:
            raise CheckpointError(f"{self.path}: can't be read: {error.strerror}") from error

    def _check(self, status: os.stat_result) -> None:
        if self.of(self.path, status) != self:
            raise CheckpointError(f"{self.path}: changed during the conversion; run again")


#: Files up to this size are hashed as a whole, which takes some milliseconds. Of larger ones the
#: first bytes, which hold the header, and pieces at equal distances up to the last byte: few enough
#: for half a second on a spinning disk.
WHOLE_BYTES = 16 << 20
FIRST_BYTES = 4 << 20
N_PIECES = 64
PIECE_BYTES = 16 << 10


@lru_cache(maxsize=4096)
def _sampled(shard: ShardFile) -> str:
    """Return a digest of a file, or of samples of it."""
    digest = hashlib.sha256()
    with shard.opened() as file:
        for start, stop in _samples(shard.size):
            digest.update(read_range(file.fileno(), start, stop - start, shard.path))
    return digest.hexdigest()


def _samples(size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file of some size that its identity is made of."""
    if size <= WHOLE_BYTES:
        yield 0, size
        return
    yield 0, FIRST_BYTES
    for piece in range(1, N_PIECES + 1):
        stop = FIRST_BYTES + (size - FIRST_BYTES) * piece // N_PIECES
        yield stop - PIECE_BYTES, stop


def read_header(path: Path) -> dict[str, CheckpointTensor]:
    """Return the tensors of a safetensors file, sorted by name as the library lists them.

    Raises
    ------
    CheckpointError
        The file breaks a rule of the format or can't be read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            shard = ShardFile.of(path, status)
            start = file.read(HEAD_BYTES)
            found = mistaken_for(start)
            if found and start[8:9] != b"{":  # a header's length may begin like anything
                raise CheckpointError(f"{path}: not a safetensors file: it is {found}")
            n = int.from_bytes(start[:8], "little")
            if status.st_size < 8:
                raise CheckpointError(
                    f"{path}: {status.st_size} bytes, too short for a safetensors file"
                )
            if n > MAX_HEADER_BYTES:
                raise CheckpointError(
                    f"{path}: a header of {n} bytes, but safetensors allows at most "
                    f"{MAX_HEADER_BYTES}; is this a safetensors file?"
                )
            if 8 + n > status.st_size:
                raise CheckpointError(
                    f"{path}: truncated: the header needs {8 + n} bytes, "
                    f"the file has {status.st_size}; is the download complete?"
                )
            file.seek(8)
            header = file.read(n)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
    return parse_header(header, shard)


def parse_header(header: bytes, shard: Shard) -> dict[str, CheckpointTensor]:
    """Return the tensors that the header of `shard` describes, sorted by name.

    Raises
    ------
    CheckpointError
        The header breaks a rule of the format.
    """
    where = f"{shard.path}: header"
    if not header.startswith(b"{"):
        raise CheckpointError(f"{where}: does not start with '{{'; is this a safetensors file?")
    entries = parse_json_object(header, where)
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{where}: '__metadata__' must map strings to strings")
    start = 8 + len(header)
    tensors = [_parse_entry(name, entry, shard, start) for name, entry in entries.items()]
    _check_layout(tensors, shard, start)
    return {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}


def _parse_entry(name: str, entry: Any, shard: Shard, start: int) -> CheckpointTensor:
    where = f"{shard.path}: tensor {name[:200]!r}"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{where}: its entry must be a JSON object")
    dtype, shape, span = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise CheckpointError(f"{where}: unknown dtype {str(dtype)[:40]!r}")
    if not _is_counts(shape):
        raise CheckpointError(f"{where}: the shape must be a list of non-negative integers")
    if not _is_counts(span) or len(span) != 2 or span[0] > span[1]:
        raise CheckpointError(f"{where}: 'data_offsets' must be [begin, end]")
    n_elements = math.prod(shape)
    if n_elements > MAX_ELEMENTS:
        raise CheckpointError(f"{where}: the shape {shape} is too large")
    n_bits = n_elements * DTYPE_BITS[dtype]
    if n_bits != 8 * (span[1] - span[0]):
        raise CheckpointError(
            f"{where}: shape {shape} of {dtype} takes {n_bits / 8:g} bytes, but "
            f"'data_offsets' span {span[1] - span[0]}"
        )
    return CheckpointTensor(name, tuple(shape), dtype, shard, start + span[0], span[1] - span[0])


def _is_counts(value: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= 64
        and all(type(n) is int and 0 <= n < 2**64 for n in value)
    )


def _check_layout(tensors: list[CheckpointTensor], shard: Shard, start: int) -> None:
    """Check that the tensors cover the data exactly, up to the end of the file."""
    end = start
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset != end:
            what = "overlaps the tensor before" if tensor.offset < end else "leaves a hole before"
            raise CheckpointError(
                f"{shard.path}: tensor {tensor.name[:200]!r} {what} it: "
                f"it begins at byte {tensor.offset}, expected {end}"
            )
        end += tensor.nbytes
    if end != shard.size:
        what = "truncated" if end > shard.size else "has bytes that belong to no tensor"
        raise CheckpointError(
            f"{shard.path}: {what}: the tensors end at byte {end}, the file at {shard.size}"
        )


def expect_weights(tensor: CheckpointTensor) -> None:
    """Check that a tensor has elements, and that they are no codes that stand for weights.

    Raises
    ------
    CheckpointError
        It has none.
    UnsupportedDtypeError
        They are integers or 8-bit floats, and nothing said how to read them.
    """
    if 0 in tensor.shape:
        raise CheckpointError(
            f"{tensor.shard.path}: tensor {tensor.name!r} has shape {tensor.shape} and holds no "
            "weights; was the model saved while its weights were elsewhere (as by DeepSpeed or "
            "FSDP)? Save it again with all of its weights gathered"
        )
    if tensor.packing is None and tensor.dtype not in WEIGHTS:
        raise UnsupportedDtypeError(
            f"{tensor.shard.path}: tensor {tensor.name!r} is stored as {tensor.dtype}: codes of a "
            "quantized weight, whose scales or settings are missing (quantization_config in "
            "config.json). Use the original model, or save it dequantized"
        )


def read_raw(tensor: CheckpointTensor, rows: slice = slice(None)) -> NDArray[Any]:
    """Return rows of a tensor as stored; bfloat16 as its bits in uint16.

    Parameters
    ----------
    tensor : CheckpointTensor
        The tensor.
    rows : slice, optional
        The rows, along the first axis; without a step. A scalar has no rows.

    Returns
    -------
    (n_rows, *tensor.shape[1:]) ndarray
        A new array.

    Raises
    ------
    UnsupportedDtypeError
        numpy has no such dtype (FP8 and smaller).
    CheckpointError
        The file can't be read.
    """
    if tensor.dtype not in STORAGE:
        raise UnsupportedDtypeError(
            f"{tensor.shard.path}: tensor {tensor.name!r} is stored as {tensor.dtype}, which "
            "can't be read without scales; use a checkpoint in BF16, F16 or F32"
        )
    shape, offset = tensor.shape, tensor.offset
    if rows != slice(None):
        if not shape:
            raise ValueError(f"{tensor.name}: a scalar has no rows")
        begin, end, step = rows.indices(shape[0])
        if step != 1:
            raise ValueError(f"{tensor.name}: rows must have no step, got {rows}")
        if tensor.strides is not None:
            return _read_strided(tensor, begin, end)
        row_bytes = tensor.nbytes // shape[0] if shape[0] else 0
        shape, offset = (max(0, end - begin), *shape[1:]), offset + begin * row_bytes
    if tensor.strides is not None:
        return _read_strided(tensor, 0, shape[0])
    # Empty shapes have no byte view, so the buffer is one-dimensional until it is filled.
    values = np.empty(math.prod(shape), STORAGE[tensor.dtype])
    if values.size:
        tensor.shard.read_into(values.view(np.uint8).data, offset)
    return values.reshape(shape)


def _read_strided(tensor: CheckpointTensor, begin: int, end: int) -> NDArray[Any]:
    """Return rows of a tensor with strides: read everything from their first to last element."""
    steps = tensor.strides or ()
    shape = (max(0, end - begin), *tensor.shape[1:])
    dtype = np.dtype(STORAGE[tensor.dtype])
    extent = sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    span = np.empty(extent + 1 if math.prod(shape) else 0, dtype)
    if span.size:
        offset = tensor.offset + begin * steps[0] * dtype.itemsize
        tensor.shard.read_into(span.view(np.uint8).data, offset)
    strides = [step * dtype.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(span, shape, strides).copy(order="C")


def read_bytes_of(tensor: CheckpointTensor, rows: slice) -> NDArray[np.uint8]:
    """Return rows of a tensor with 8-bit elements as bytes.

    Parameters and errors are those of `read_raw`.
    """
    return read_raw(replace(tensor, dtype="U8"), rows)


def read_float32(tensor: CheckpointTensor, rows: slice = slice(None)) -> NDArray[np.float32]:
    """Return rows of a tensor as float32.

    BF16 and F16 widen exactly; F64 and integers are rounded to the nearest float32. Parameters
    and errors are those of `read_raw`.
    """
    if tensor.packing is not None:
        start, stop, _ = rows.indices(tensor.shape[0])
        stop, each = max(start, stop), math.prod(tensor.shape[1:-1])
        values = tensor.packing.rows(start * each, stop * each)
        shape = (stop - start, *tensor.shape[1:])
        return np.ascontiguousarray(values, np.float32).reshape(shape)
    raw = read_raw(tensor, rows)
    if tensor.dtype == "BF16":
        # bfloat16 is the upper half of a float32.
        wide = raw.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    with np.errstate(over="ignore"):  # as in torch, an F64 beyond float32 becomes infinite
        return raw.astype(np.float32, copy=False)
