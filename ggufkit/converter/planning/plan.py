"""A plan: every file of a ladder laid out to the byte, before any weight is read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufkit.converter.planning.reasons import Reason
from ggufkit.converter.planning.rules import Recipe
from ggufkit.converter.sources.base import Reader, Source, SourceTensor
from ggufkit.gguf.layout import Layout
from ggufkit.types import NonFinite, Search, TensorType
from ggufkit.version import __version__

# Rows are read, encoded and written in chunks of about this many weights.
CHUNK_WEIGHTS = 1 << 20


@dataclass(frozen=True)
class OutputFile:
    """One file: a rung, or a split of it."""

    path: Path
    layout: Layout


@dataclass(frozen=True)
class Encoding:
    """How a rung wants a tensor.

    Attributes
    ----------
    type : TensorType
        What it is encoded to.
    via_intermediate : bool
        Whether weights are rounded to the plan's `via` type first, as by llama.cpp's two steps:
        its converter writes an intermediate file, which llama-quantize reads.
    """

    type: TensorType
    via_intermediate: bool

    @property
    def key(self) -> str:
        """Its name in journals and reports."""
        return f"{self.type.name}{'' if self.via_intermediate else ' direct'}"


@dataclass(frozen=True)
class Target:
    """What a tensor becomes in a rung, and where it goes.

    Attributes
    ----------
    type : TensorType
        What it is encoded to.
    reason : Reason
        Why: the rule, option or fallback that chose the type.
    part : int
        Index of the file among the rung's parts.
    offset, n_bytes : int
        Its data: first byte, counted from the start of the file, and length.
    """

    type: TensorType
    reason: Reason
    part: int
    offset: int
    n_bytes: int

    def as_dict(self) -> dict[str, str | int]:
        """Return type, size and reason, for JSON."""
        return {
            "type": self.type.name,
            "bytes": self.n_bytes,
            "why": str(self.reason),
            "reason": self.reason.code.name,
        }


@dataclass(frozen=True)
class Rung:
    """One file type of the ladder.

    Attributes
    ----------
    recipe : Recipe
        The file type.
    parts : tuple of OutputFile
        The file, or its splits.
    targets : mapping of str to Target
        Tensor name to its type and place.
    via_intermediate : bool
        See `Encoding`.
    n_weights : int
        Weights of all tensors.
    """

    recipe: Recipe
    parts: tuple[OutputFile, ...]
    targets: Mapping[str, Target]
    via_intermediate: bool
    n_weights: int

    @property
    def name(self) -> str:
        """The file type's name."""
        return self.recipe.name

    @property
    def n_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(part.layout.file_size for part in self.parts)

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per weight."""
        return sum(target.n_bytes for target in self.targets.values()) * 8 / max(1, self.n_weights)

    def path_of(self, name: str) -> Path:
        """Return the file that holds a tensor."""
        return self.parts[self.targets[name].part].path

    def encoding(self, name: str) -> Encoding:
        """Return how the rung wants a tensor."""
        return Encoding(self.targets[name].type, self.via_intermediate)


@dataclass(frozen=True)
class Task:
    """Some rows of one tensor, for all rungs; picklable, with all that its work needs.

    Attributes
    ----------
    number : int
        Its place in the plan's order.
    tensor : SourceTensor
        Whose rows they are.
    start, stop : int
        The rows, counted over all leading dimensions.
    reader : Reader
        Where they are read.
    intermediate_type : TensorType or None
        What encodings with `via_intermediate` round to first; None where that changes nothing.
    importance : (n_cols,) float32 or None
        Of the matrix that the rows belong to.
    search : str
        How scales are found.
    nonfinite : str
        What becomes of weights that are NaN or infinite.
    places : mapping of Encoding to sequence of (Path, int)
        File and first byte for the blocks of each encoding.
    """

    number: int
    tensor: SourceTensor
    start: int
    stop: int
    reader: Reader
    intermediate_type: TensorType | None
    importance: NDArray[np.float32] | None
    search: Search
    nonfinite: NonFinite
    places: Mapping[Encoding, Sequence[tuple[Path, int]]]


@dataclass(frozen=True)
class Plan:
    """A ladder, ready to be executed.

    Attributes
    ----------
    source : Source
        Where weights are read.
    rungs : tuple of Rung
        What is written.
    via : TensorType
        Type of the intermediate file that quantized rungs are equal to being made from.
    importance : mapping of str to ndarray
        Tensor name to importance, (n_matrices, n_cols) float32.
    skipped : mapping of str to str
        Rungs of a requested range that can't be made, and why.
    search, nonfinite
        See `make_plan`.
    imatrix : dict or None
        Name and SHA-256 of the importance matrix's file.
    by_part : bool
        Take tensors in the order of quantized files, so that splits are completed one after
        another; by default in the order of the source.
    delivered : frozenset of Path
        Parts that are elsewhere already, and are not written.
    """

    source: Source
    rungs: tuple[Rung, ...]
    via: TensorType
    importance: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    search: Search = "ggml"
    nonfinite: NonFinite = "error"
    imatrix: Mapping[str, str] | None = None
    by_part: bool = False
    delivered: frozenset[Path] = frozenset()

    @property
    def parts(self) -> list[OutputFile]:
        """The files that are written."""
        parts = [part for rung in self.rungs for part in rung.parts]
        return [part for part in parts if part.path not in self.delivered]

    @property
    def tensors(self) -> Sequence[SourceTensor]:
        """The tensors in the order of the work."""
        tensors = self.source.tensors
        return sorted(tensors, key=quantize_order) if self.by_part else tensors

    @property
    def digest(self) -> str:
        """What tells this ladder from any other."""
        return hashlib.sha256("".join(map(self.fingerprint, self.rungs)).encode()).hexdigest()

    @property
    def n_tasks(self) -> int:
        """Number of `tasks`, counted without making them."""
        return sum(map(self.n_tasks_of, self.source.tensors))

    def n_tasks_of(self, tensor: SourceTensor) -> int:
        """Return how many tasks the rows of a tensor are."""
        return sum(1 for _ in self._row_ranges(tensor))

    def tasks(self) -> Iterator[Task]:
        """Yield the work, in the order of `tensors`."""
        ranges = ((tensor, rows) for tensor in self.tensors for rows in self._row_ranges(tensor))
        for number, (tensor, rows) in enumerate(ranges):
            yield self._task(number, tensor, rows)

    def _row_ranges(self, tensor: SourceTensor) -> Iterator[range]:
        """Yield the rows of each task: of one matrix, or of several whole ones of a stack."""
        step = self.rows_per_task(tensor)
        whole = max(_rows_per_matrix(tensor), step)
        for first in range(0, tensor.n_rows, whole):
            end = min(first + whole, tensor.n_rows)
            for start in range(first, end, step):
                yield range(start, min(start + step, end))

    def rows_per_task(self, tensor: SourceTensor) -> int:
        """Return how many rows of a tensor a task has at most.

        These are some of a matrix, or several small matrices, unless each has an importance of
        its own.
        """
        rows, per_matrix = max(1, CHUNK_WEIGHTS // max(1, tensor.n_cols)), _rows_per_matrix(tensor)
        if rows < per_matrix:
            return rows
        return per_matrix if tensor.name in self.importance else rows // per_matrix * per_matrix

    def paths_of(self, tensor: SourceTensor) -> set[Path]:
        """Return the files that are written and hold a tensor."""
        return {rung.path_of(tensor.name) for rung in self.rungs} - self.delivered

    def _task(self, number: int, tensor: SourceTensor, rows: range) -> Task:
        places: dict[Encoding, list[tuple[Path, int]]] = {}
        for rung in self.rungs:
            target, path = rung.targets[tensor.name], rung.path_of(tensor.name)
            if path not in self.delivered:
                place = (path, target.offset + rows.start * target.type.row_size(tensor.n_cols))
                places.setdefault(rung.encoding(tensor.name), []).append(place)
        importance = self.importance.get(tensor.name)
        matrix = rows.start // _rows_per_matrix(tensor)
        exact = (
            self.source.is_gguf
            or tensor.required_type is not None
            or tensor.source_type.is_quantized
            or self.via in (TensorType.F32, tensor.source_type)
        )
        return Task(
            number=number,
            tensor=tensor,
            start=rows.start,
            stop=rows.stop,
            reader=self.source.reader(tensor),
            intermediate_type=None if exact else self.via,
            importance=None if importance is None else importance[matrix],
            search=self.search,
            nonfinite=self.nonfinite,
            places=places,
        )

    def fingerprint(self, rung: Rung) -> str:
        """Return a digest of all that decides a rung's bytes."""
        digest = hashlib.sha256()
        origin = self.source.origin["identity"]
        via = self.via.name, rung.via_intermediate
        digest.update(json.dumps([__version__, origin, *via, self.search, self.nonfinite]).encode())
        for part in rung.parts:
            digest.update(part.layout.header)
        for name, values in sorted(self.importance.items()):
            digest.update(name.encode() + values.tobytes())
        return digest.hexdigest()

    def only(self, rungs: Sequence[Rung]) -> Plan:
        """Return the plan for some of the rungs."""
        return replace(self, rungs=tuple(rungs))


def _rows_per_matrix(tensor: SourceTensor) -> int:
    return max(1, tensor.shape[-2] if len(tensor.shape) > 1 else 1)


def quantize_order(tensor: SourceTensor) -> tuple[int, str]:
    """Sort key of llama-quantize's file order: outside of blocks, then by block; by name."""
    block = re.match(r"blk\.(\d+)\.", tensor.name)
    return (int(block[1]) if block else -1, tensor.name)
