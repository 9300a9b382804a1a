"""Importance matrices: how much each column of a weight matters to the model's output.

llama-imatrix runs text through a model and sums, for every weight, the squares of its inputs.
Two formats exist. The GGUF one keeps, per matrix of a weight (one, or one per expert), the sums
and the number of tokens that they are over::

    general.type = "imatrix"    imatrix.datasets: str[]   imatrix.chunk_count, .chunk_size: u32
    NAME.in_sum2  F32 (n_matrices, n_cols)      NAME.counts  F32 (n_matrices, 1)

The legacy one (``.dat``, little endian) keeps means, multiplied by a number of calls::

    n_entries: i32
    n_entries x  len: i32, name | n_calls: i32 | n_values: i32 | values: f32[n_values]
    n_chunks: i32 | len: i32, dataset                                   (optional)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.errors import BadValueError, ConversionError, NotGGUFError, TruncatedError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.writer import write
from ggufkit.io.atomic import PartialFile
from ggufkit.types import TensorType, ValueType

SUMS, COUNTS = ".in_sum2", ".counts"
# llama-quantize keeps strings of its metadata overrides this short.
MAX_STRING_BYTES = 127


class WeightShape(Protocol):
    """A weight by its name and shape, such as a `ggufkit.converter.sources.base.SourceTensor`."""

    @property
    def name(self) -> str:
        """Name in the GGUF file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in numpy order."""

    @property
    def n_cols(self) -> int:
        """Weights per row."""


@dataclass(frozen=True)
class ImatrixEntry:
    """What is known of one weight.

    Attributes
    ----------
    sums : (n_matrices, n_cols) float32
        Sums of squared inputs; one matrix of all values where the file does not tell matrices
        apart.
    counts : (n_matrices,) float32
        What the sums are over; a mean is a sum divided by its count.
    """

    sums: Floats
    counts: Floats

    @property
    def importance(self) -> Floats:
        """Means, (n_matrices, n_cols); all 1 for an expert that saw no token."""
        counts = self.counts[:, None]
        return np.where(counts > 0, self.sums / np.maximum(counts, 1), np.float32(1))


@dataclass(frozen=True)
class Imatrix:
    """An importance matrix.

    Attributes
    ----------
    entries : mapping of str to ImatrixEntry
        By tensor name.
    name : str
        The file's name, as it goes into the metadata of quantized files.
    datasets : tuple of str
        What text it was computed on.
    n_chunks, chunk_size : int
        How much of it; the legacy format has no chunk size.
    sha256 : str
        Of the file that it was read from.
    """

    entries: Mapping[str, ImatrixEntry]
    name: str
    datasets: tuple[str, ...] = ()
    n_chunks: int = 0
    chunk_size: int = 0
    sha256: str = ""

    @classmethod
    def open(cls, path: str | Path) -> Imatrix:
        """Read either format.

        Raises
        ------
        FormatError
            It is neither, or it is damaged.
        """
        path = Path(path)
        try:
            with GGUFFile.open(path) as file:
                imatrix = _from_gguf(file, path)
        except NotGGUFError:
            imatrix = _from_legacy(path.read_bytes(), path)
        for name, entry in imatrix.entries.items():
            if not (np.isfinite(entry.sums).all() and (entry.sums >= 0).all()):
                raise BadValueError(f"importance of {name} is negative or not finite", path=path)
        with path.open("rb") as stream:
            return replace(imatrix, sha256=hashlib.file_digest(stream, "sha256").hexdigest())

    def match(self, tensors: Iterable[WeightShape]) -> dict[str, Floats]:
        """Return the importance of each tensor that has one, (n_matrices, n_cols).

        Raises
        ------
        ConversionError
            A size differs: the matrix belongs to another model.
        """
        matched: dict[str, Floats] = {}
        for tensor in tensors:
            entry = self.entries.get(tensor.name)
            if entry is None:
                continue
            n_matrices = tensor.shape[-3] if len(tensor.shape) > 2 else 1
            if entry.sums.size == n_matrices * tensor.n_cols:
                matched[tensor.name] = entry.importance.reshape(n_matrices, tensor.n_cols)
            elif tensor.name != "token_embd.weight":
                raise ConversionError(
                    f"{self.name} has {entry.sums.size} values for {tensor.name}, which needs "
                    f"{n_matrices} x {tensor.n_cols}: it belongs to another model"
                )
        return matched

    def provenance(self) -> Metadata:
        """Return the keys that llama-quantize adds to a file made with it."""
        metadata = Metadata()
        metadata["quantize.imatrix.file"] = _shorten(self.name)
        if self.datasets:
            metadata["quantize.imatrix.dataset"] = _shorten(self.datasets[0])
        metadata["quantize.imatrix.entries_count"] = len(self.entries)
        if self.n_chunks > 0:
            metadata["quantize.imatrix.chunks_count"] = self.n_chunks
        return metadata

    def save(self, path: str | Path) -> None:
        """Write the GGUF format, or the legacy one where the name ends in ``.dat``.

        Raises
        ------
        OutputError
            The file can't be written.
        """
        path = Path(path)
        if path.suffix == ".dat":
            data = self._legacy_bytes()
            with PartialFile(path, len(data)) as file:
                file.write_at(0, data)
                file.publish()
            return
        metadata = Metadata({"general.type": "imatrix"})
        metadata.set("imatrix.datasets", list(self.datasets), ValueType.STRING)
        metadata.set("imatrix.chunk_count", self.n_chunks, ValueType.UINT32)
        metadata.set("imatrix.chunk_size", self.chunk_size, ValueType.UINT32)
        arrays = {}
        for name, entry in sorted(self.entries.items()):
            arrays[name + SUMS] = entry.sums
            arrays[name + COUNTS] = entry.counts[:, None]
        specs = [(name, array.shape, TensorType.F32) for name, array in arrays.items()]
        write(path, plan_layout(metadata, specs), arrays)

    def _legacy_bytes(self) -> bytes:
        out = [struct.pack("<i", len(self.entries))]
        for name, entry in sorted(self.entries.items()):
            n_calls = self.n_chunks or int(entry.counts.max())
            values = entry.importance.ravel() * np.float32(n_calls)
            encoded = name.encode()
            out += [struct.pack("<i", len(encoded)), encoded]
            out += [struct.pack("<ii", n_calls, values.size), values.astype("<f4").tobytes()]
        dataset = self.datasets[0].encode() if self.datasets else b""
        out += [struct.pack("<ii", self.n_chunks, len(dataset)), dataset]
        return b"".join(out)


def _shorten(text: str) -> str:
    return text.encode()[:MAX_STRING_BYTES].decode(errors="ignore")


def _from_gguf(file: GGUFFile, path: Path) -> Imatrix:
    names = [name.removesuffix(SUMS) for name in file.tensors if name.endswith(SUMS)]
    if not names:
        raise BadValueError("no tensor ends in .in_sum2: this is no importance matrix", path=path)
    entries = {}
    for name in sorted(names):
        sums, counts = (_read_f32(file, name + suffix, path) for suffix in (SUMS, COUNTS))
        if counts.size == 0 or sums.size % counts.size:
            raise BadValueError(f"{name}: {sums.size} sums for {counts.size} counts", path=path)
        entries[name] = ImatrixEntry(sums.reshape(counts.size, -1), np.rint(counts.ravel()))
    datasets = file.metadata.get("imatrix.datasets", [])
    return Imatrix(
        entries,
        path.name,
        tuple(map(str, datasets)) if isinstance(datasets, list) else (),
        _int(file.metadata, "imatrix.chunk_count"),
        _int(file.metadata, "imatrix.chunk_size"),
    )


def _read_f32(file: GGUFFile, name: str, path: Path) -> Floats:
    if name not in file.tensors or file.tensors[name].type is not TensorType.F32:
        raise BadValueError(f"{name} is missing or not F32", path=path)
    return np.frombuffer(file.read_bytes(file.tensors[name]), "<f4").astype(np.float32)


def _int(metadata: Metadata, key: str) -> int:
    value = metadata.get(key, 0)
    return value if isinstance(value, int) else 0


@dataclass
class _Cursor:
    """Reads a buffer front to back; every length is checked before it is used."""

    data: bytes
    path: Path
    at: int = 0

    def take(self, n: int, what: str) -> bytes:
        if n < 0 or n > len(self.data) - self.at:
            left = len(self.data) - self.at
            raise TruncatedError(
                f"{what} needs {n} bytes, {left} remain: neither GGUF nor an intact imatrix .dat",
                path=self.path,
                offset=self.at,
            )
        self.at += n
        return self.data[self.at - n : self.at]

    def i32(self, what: str) -> int:
        return int.from_bytes(self.take(4, what), "little", signed=True)

    def text(self, what: str) -> str:
        return self.take(self.i32(what), what).decode(errors="replace")


def _from_legacy(data: bytes, path: Path) -> Imatrix:
    cursor = _Cursor(data, path)
    entries = {}
    n_entries = cursor.i32("number of entries")
    if n_entries < 1:
        raise BadValueError(f"{n_entries} entries: no imatrix .dat", path=path, offset=0)
    for i in range(n_entries):
        name = cursor.text(f"name of entry {i}")
        n_calls, n_values = cursor.i32("calls"), cursor.i32("number of values")
        values = np.frombuffer(cursor.take(n_values * 4, f"values of {name}"), "<f4")
        entries[name] = ImatrixEntry(
            values.astype(np.float32)[None], np.array([max(n_calls, 1)], np.float32)
        )
    n_chunks = 0
    datasets: tuple[str, ...] = ()
    if cursor.at < len(data):
        n_chunks = cursor.i32("number of chunks")
        dataset = cursor.text("dataset") if cursor.at < len(data) else ""
        datasets = (dataset,) if dataset else ()
    return Imatrix(entries, path.name, datasets, n_chunks)
