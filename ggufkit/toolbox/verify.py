"""Verifying that a file has the bytes that its source gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ggufkit.architectures.from_gguf_py import generic_provenance
from ggufkit.converter.execution.execute import Rows
from ggufkit.converter.ladder import open_source, plan_ladder
from ggufkit.converter.planning.plan import Rung, Task
from ggufkit.errors import ConversionError
from ggufkit.gguf.header import parse_header
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import map_in_order
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.diff import KeyDifference, compare_metadata
from ggufkit.types import FileType


@dataclass(frozen=True)
class Mismatch:
    """A tensor that differs from what the source gives.

    Attributes
    ----------
    name : str
        The tensor.
    what : str
        How it differs.
    n_blocks : int
        Blocks that differ, if type and shape are right.
    """

    name: str
    what: str
    n_blocks: int = 0


@dataclass(frozen=True)
class Verification:
    """How a file compares with what its source gives.

    Attributes
    ----------
    recipe : str
        The file type that was converted to.
    n_tensors : int
        Tensors that were compared.
    mismatches : tuple of Mismatch
        Tensors that differ.
    metadata : tuple of KeyDifference
        Keys that differ: A is the file, B what the source gives.
    same_header : bool
        Whether the header is the same byte for byte.
    """

    recipe: str
    n_tensors: int
    mismatches: tuple[Mismatch, ...]
    metadata: tuple[KeyDifference, ...]
    same_header: bool

    @property
    def same_weights(self) -> bool:
        """Whether every tensor is as the source gives it."""
        return not self.mismatches

    @property
    def same_file(self) -> bool:
        """Whether every byte is as the source gives it."""
        return self.same_weights and self.same_header


def verify(
    path: str | os.PathLike[str],
    source: str | Path,
    *,
    recipe: str | None = None,
    imatrix: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Verification:
    """Convert the source again and compare with a file. Nothing is written.

    Parameters
    ----------
    path : path-like
        The file, or any part of a split.
    source : path-like or str
        The checkpoint, repository or GGUF file that it was made from.
    recipe : str, optional
        The file type; by default ``general.file_type``.
    imatrix : path-like, optional
        The importance matrix that was used.
    jobs : int, optional
        Threads; by default one per CPU.
    progress : callable
        Called with the number of bytes, as they are compared.
    **options
        Options that `ggufkit.convert` was given: ``via``, ``options``, ``pre``, ``name``,
        ``revision``, ``allow_requantize``, ``search``.

    Raises
    ------
    GGUFKitError
        File or source can't be read, or the file does not state its type.
    """
    opening = {k: options.pop(k) for k in _OPENING if k in options}
    with open_gguf(path) as model:
        recipe = recipe or _stated_recipe(model)
        if generic_provenance(model.metadata) and not str(source).lower().endswith(".gguf"):
            opening["generic"] = str(model.metadata.get("general.architecture"))
        plan = plan_ladder(
            open_source(source, **opening), "verify.gguf", recipe, imatrix=imatrix, **options
        )
        (rung,) = plan.rungs
        wrong = {found.name: found for found in _unlike(model, rung)}
        tasks = (task for task in plan.tasks() if task.tensor.name not in wrong)
        compared = _compare(model, rung, tasks, jobs, progress)
        header = rung.parts[0].layout.header
        metadata = parse_header(header).metadata
        return Verification(
            recipe,
            len(rung.targets),
            (*wrong.values(), *compared),
            tuple(compare_metadata(model.metadata, metadata)),
            len(model.parts) == 1 and _header_of(model) == header,
        )


_OPENING = ("pre", "name", "revision", "allow_requantize")


def _stated_recipe(model: GGUFModel) -> str:
    number = model.metadata.get("general.file_type")
    if number not in set(FileType):
        raise ConversionError(
            f"{model.path}: general.file_type is {number}: give the recipe with --recipe"
        )
    return FileType(number).name  # type: ignore[arg-type]


def _header_of(model: GGUFModel) -> bytes:
    part = model.parts[0]
    with Path(part.path or "").open("rb") as file:
        return file.read(part.data_offset)


def _unlike(model: GGUFModel, rung: Rung) -> Iterator[Mismatch]:
    """Yield mismatches that are known without reading data."""
    planned = {info.name: info for part in rung.parts for info in part.layout.tensors}
    for name, info in planned.items():
        found = model.tensors.get(name)
        if found is None:
            yield Mismatch(name, "is missing")
        elif found.shape != info.shape:
            yield Mismatch(name, f"has shape {found.shape}, the source gives {info.shape}")
        elif found.type is not info.type:
            yield Mismatch(name, f"is {found.type.name}, the recipe says {info.type.name}")
    for name in model.tensors:
        if name not in planned:
            yield Mismatch(name, "is not in the source")


def _compare(
    model: GGUFModel, rung: Rung, tasks: Iterator[Task], jobs: int | None, progress: Progress
) -> list[Mismatch]:
    first: dict[str, tuple[int, int]] = {}

    def check(task: Task) -> tuple[str, int, int]:
        encoding = rung.encoding(task.tensor.name)
        blocks = Rows(task).encode(encoding)
        info = model.tensors[task.tensor.name]
        row = info.type.row_size(task.tensor.n_cols)
        stored = model.read_bytes(info, task.start * row, blocks.nbytes)
        progress(blocks.nbytes)
        if stored == blocks.tobytes():
            return task.tensor.name, 0, 0
        return task.tensor.name, *_differing(
            stored, blocks.tobytes(), info.type.type_size, task.start * row
        )

    for name, place, n in map_in_order(check, tasks, jobs):
        if n:
            before = first.get(name, (place, 0))
            first[name] = min(place, before[0]), before[1] + n
    return [
        Mismatch(name, f"differs in {n} blocks, the first is block {place}", n)
        for name, (place, n) in first.items()
    ]


def _differing(stored: bytes, wanted: bytes, size: int, start: int) -> tuple[int, int]:
    """Return the index of the first block that differs, and how many differ."""
    a, b = (np.frombuffer(data, np.uint8).reshape(-1, size) for data in (stored, wanted))
    differ = (a != b).any(axis=1)
    return start // size + int(differ.argmax()), int(differ.sum())
