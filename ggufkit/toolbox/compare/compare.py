"""Errors of rungs against their source, tensor by tensor: `compare`.

The source's weights are read once for all rungs, in chunks of rows on several threads; memory does
not grow with the files. These are errors of weights; they do not rate a model.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufkit.arrays import Floats
from ggufkit.calibration.imatrix import Imatrix
from ggufkit.codecs import dequantize
from ggufkit.converter.ladder import open_source
from ggufkit.converter.sources.base import Source, SourceTensor
from ggufkit.errors import BadLayoutError, BadValueError
from ggufkit.gguf.layout import TensorInfo
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import CHUNK, map_in_order
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.compare.measures import Comparison, Measure, RungErrors
from ggufkit.toolbox.fit.candidates import file_type_of

__all__ = ["Comparison", "Measure", "RungErrors", "compare"]

#: Errors are measured on so many, which stay in a core's cache.
_TILE = 1 << 17


def compare(
    source: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    imatrix: str | Path | None = None,
    jobs: int | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Measure rungs against what they were made from.

    Parameters
    ----------
    source : str or path-like
        A checkpoint's folder or repository, or a GGUF file.
    files : sequence of path-like
        GGUF files, any parts of split ones, or folders of models.
    imatrix : str or Path, optional
        An importance matrix: squared errors are also summed with its weights.
    jobs : int, optional
        Threads; one per CPU by default.
    progress : callable
        Called with the number of the rungs' bytes, as they are measured.

    Raises
    ------
    GGUFKitError
        A file can't be read, or has no tensor in common with the source.

    Examples
    --------
    >>> import tempfile, numpy as np, ggufkit
    >>> path = tempfile.mkdtemp() + "/{}.gguf"
    >>> weights = np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32)
    >>> for name in ("F32", "Q8_0"):
    ...     data = {"blk.0.ffn_up.weight": (weights, ggufkit.TensorType[name])}
    ...     _ = ggufkit.save(path.format(name), {"general.architecture": "llama"}, data)
    >>> found = compare(path.format("F32"), [path.format("Q8_0")])
    >>> found.rungs[0].name, round(found.rungs[0].total.relative, 4)
    ('Q8_0', 0.0038)
    """
    opened = open_source(os.fspath(source), allow_requantize=True, loadable=False)
    matched = {} if imatrix is None else Imatrix.open(imatrix).match(opened.tensors)
    with ExitStack() as stack:
        rungs = [
            _Rung(stack.enter_context(open_gguf(path)), Path(path).name) for path in expand(files)
        ]
        for rung in rungs:
            rung.match(opened.tensors)
        _measure(opened, rungs, matched, jobs, progress)
        found = sorted((rung.result(opened.tensors) for rung in rungs), key=lambda r: r.n_bytes)
    return Comparison(
        str(opened.origin.get("name") or source),
        {tensor.name: tensor.shape for tensor in opened.tensors},
        tuple(_with_names_of_their_own(found)),
        weighted=imatrix is not None,
    )


def _with_names_of_their_own(rungs: Sequence[RungErrors]) -> Iterator[RungErrors]:
    """Name files of the same type by their file names, and number those of the same name."""
    types = Counter(rung.name for rung in rungs)
    seen: Counter[str] = Counter()
    for rung in rungs:
        name = rung.name if types[rung.name] == 1 else rung.file.removesuffix(".gguf")
        seen[name] += 1
        yield replace(rung, name=name if seen[name] == 1 else f"{name} ({seen[name]})")


def expand(files: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files, and for folders the models in them, split ones once.

    Raises
    ------
    BadValueError
        There are none.
    """
    from ggufkit.gguf.split import parse_part_name

    found: list[Path] = []
    for file in map(Path, files):
        inside = sorted(file.glob("*.gguf")) if file.is_dir() else [file]
        found += [p for p in inside if (parse_part_name(p.name) or ("", 0, 1))[1] == 0]
    if not found:
        raise BadValueError("no GGUF files to compare")
    return list(dict.fromkeys(found))


class _Rung:
    """An open file, and its errors so far."""

    def __init__(self, file: GGUFModel, name: str) -> None:
        self.file = file
        self.file_name = name
        self.common: dict[str, TensorInfo] = {}
        self.sums: dict[str, Measure] = {}

    def match(self, tensors: Iterable[SourceTensor]) -> None:
        """Find the source's tensors; leading dimensions of 1 do not count."""
        for tensor in tensors:
            info = self.file.tensors.get(tensor.name)
            if info is not None and _without_ones(info.shape) == _without_ones(tensor.shape):
                self.common[tensor.name] = info
        if not self.common:
            raise BadLayoutError(
                "no tensor has the name and shape of one of the source's: it was made from "
                "something else",
                path=self.file.path,
            )

    def read(self, name: str, rows: slice, n_cols: int) -> NDArray[np.uint8]:
        """Return rows as stored, (n_rows, row_size)."""
        info = self.common[name]
        row_size = info.type.row_size(n_cols)
        n_rows = rows.stop - rows.start
        data = self.file.read_bytes(info, rows.start * row_size, n_rows * row_size)
        return np.frombuffer(data, np.uint8).reshape(n_rows, row_size)

    def result(self, tensors: Iterable[SourceTensor]) -> RungErrors:
        """Return the errors."""
        missing = tuple(t.name for t in tensors if t.name not in self.common)
        extra = tuple(name for name in self.file.tensors if name not in self.common)
        return RungErrors(
            file_type_of(self.file.metadata, self.file_name),
            self.file_name,
            self.file.file_size,
            dict(self.common),
            self.sums,
            missing,
            tuple(name for name in extra if name not in missing),
        )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop leading dimensions of 1, as llama-quantize does."""
    first = next((i for i, n in enumerate(shape) if n != 1), max(len(shape) - 1, 0))
    return shape[first:]


def _measure(
    source: Source,
    rungs: Sequence[_Rung],
    importance: dict[str, Floats],
    jobs: int | None,
    progress: Progress,
) -> None:
    """Measure all chunks; sums are added in file order, whatever the threads."""

    def run(stretch: tuple[SourceTensor, slice]) -> list[tuple[_Rung, str, Measure]]:
        tensor, rows = stretch
        values = source.reader(tensor).read(rows)
        weights = _rows_of(importance.get(tensor.name), tensor, rows)
        found = []
        for rung in rungs:
            if tensor.name in rung.common:
                stored = rung.read(tensor.name, rows, tensor.n_cols)
                type_ = rung.common[tensor.name].type
                tiles = _tiles(values, stored, weights)
                with np.errstate(all="ignore"):  # weights of a broken file may be anything
                    parts = [Measure.of(x, dequantize(y, type_), w) for x, y, w in tiles]
                found.append((rung, tensor.name, sum(parts, Measure())))
                progress(stored.nbytes)
        return found

    for parts in map_in_order(run, _stretches(source.tensors), jobs):
        for rung, name, part in parts:
            rung.sums[name] = rung.sums.get(name, Measure()) + part


def _stretches(tensors: Iterable[SourceTensor]) -> Iterator[tuple[SourceTensor, slice]]:
    for tensor in tensors:
        step = max(1, CHUNK // max(tensor.n_cols, 1))
        for start in range(0, tensor.n_rows, step):
            yield tensor, slice(start, min(start + step, tensor.n_rows))


def _rows_of(importance: Floats | None, tensor: SourceTensor, rows: slice) -> Floats | None:
    """Return the importance of rows, (n_rows, n_cols): each matrix of a stack has its own."""
    if importance is None:
        return None
    per_matrix = max(tensor.n_rows // len(importance), 1)
    found: Floats = importance[np.arange(rows.start, rows.stop) // per_matrix]
    return found


def _tiles(
    values: Floats, stored: NDArray[np.uint8], weights: Floats | None
) -> Iterator[tuple[Floats, NDArray[np.uint8], Floats | None]]:
    step = max(1, _TILE // max(values.shape[-1], 1))
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        yield values[rows], stored[rows], None if weights is None else weights[rows]
