"""Execute a plan: one pass over the weights for all rungs.

Each task reads some rows of one tensor, widens them once, encodes them once per distinct type,
and writes the blocks at their known place in every rung that wants them. Tasks are independent
and picklable; any `concurrent.futures.Executor` runs them, in any order, with the same result.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import dequantize, quantize
from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.codecs.range_checks import all_below
from ggufkit.converter.execution.journal import Journal
from ggufkit.converter.execution.outputs import OnFileComplete, OutputSet
from ggufkit.converter.execution.report import Report, TaskResult
from ggufkit.converter.execution.scheduling import bundle_for, map_bounded
from ggufkit.converter.planning.plan import Encoding, OutputFile, Plan, Task
from ggufkit.converter.planning.resources import all_bytes, jobs_of, peak_bytes
from ggufkit.errors import NotFiniteError, OutputError
from ggufkit.io.atomic import partial_path, write_into_partial
from ggufkit.types import Progress, TensorType

# Errors are measured on this many weights at a time: few enough to stay in a core's cache.
ERROR_TILE = 1 << 17


def run_task(task: Task, *, report: bool) -> TaskResult:
    """Read rows, encode them for every rung and write them into the partial files.

    Raises
    ------
    NotFiniteError
        A weight is NaN or infinite, or too large for float16.
    """
    rows = Rows(task)
    sums: dict[str, ErrorSums] = {}
    written = 0
    for encoding, places in task.places.items():
        blocks = rows.encode(encoding)
        for path, offset in places:
            write_into_partial(path, offset, blocks)
            written += blocks.nbytes
        if report:
            sums[encoding.key] = rows.errors(blocks, encoding.type)
    return TaskResult(task.number, task.tensor.name, written, sums, rows.n_nonfinite)


_threads = threading.local()


def _scratch(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return an array of this thread's: a fresh one costs a page fault per 4 kB, each time."""
    size = math.prod(shape)
    if getattr(_threads, "scratch", None) is None or _threads.scratch.size < size:
        _threads.scratch = np.empty(max(size, ERROR_TILE), np.float32)
    scratch: NDArray[np.float32] = _threads.scratch[:size].reshape(shape)
    return scratch


class Rows:
    """The rows of one task: read once, rounded once.

    Raises
    ------
    NotFiniteError
        A weight is NaN or infinite, and may not be.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.slice = slice(task.start, task.stop)
        self.values = task.reader.read(self.slice)
        self._rounded: NDArray[np.float32] | None = None
        self.n_nonfinite = 0
        if all_below(self.values, np.inf):
            return
        self._finite = np.isfinite(self.values)
        self.n_nonfinite = self._finite.size - int(np.count_nonzero(self._finite))
        if task.nonfinite == "error":
            index = np.unravel_index(int(self._finite.argmin()), self._finite.shape)
            raise self._not_finite((int(index[0]), int(index[1])), "is NaN or infinite")
        if task.nonfinite == "zero":
            self.values = np.where(self._finite, self.values, np.float32(0))

    def errors(
        self,
        blocks: NDArray[np.uint8],
        type_: TensorType,
        *,
        scale: NDArray[np.float32] | None = None,
    ) -> ErrorSums:
        """Return the errors of the weights that are finite, each column multiplied by `scale`."""
        if scale is None and not self.n_nonfinite:
            found = ErrorSums.of_blocks(self.values, blocks, type_)
            if found is not None:
                return found
        sums = ErrorSums()
        n_rows, n_cols = self.values.shape
        step = max(1, ERROR_TILE // max(1, n_cols))
        for start in range(0, n_rows, step):
            rows = slice(start, start + step)
            values = self.values[rows]
            decoded = dequantize(blocks[rows], type_, out=_scratch(values.shape))
            if scale is not None:
                values, decoded = values * scale, decoded * scale
            if self.n_nonfinite:
                finite = self._finite[rows]
                values, decoded = values[finite], decoded[finite]
            sums += ErrorSums.of(values, decoded)
        return sums

    def encode(self, encoding: Encoding) -> NDArray[np.uint8]:
        """Return the rows' blocks."""
        tensor = self.task.tensor
        rounded = encoding.via_intermediate and self.task.intermediate_type is not None
        changed = rounded or (self.n_nonfinite and self.task.nonfinite == "zero")
        if encoding.type is (tensor.lossless_type or tensor.source_type) and not changed:
            stored = self.task.reader.read_blocks(self.slice)
            if stored is not None:
                return stored
        values = self._round() if encoding.via_intermediate else self.values
        try:
            task = self.task
            return quantize(values, encoding.type, importance=task.importance, search=task.search)
        except NotFiniteError as error:
            row, col = error.index or (0, 0)
            raise self._not_finite((row, col), f"is too large for {encoding.type.name}") from None

    def _round(self) -> NDArray[np.float32]:
        """Return the values as the intermediate file would hold them."""
        via = self.task.intermediate_type
        if via is None:
            return self.values
        if self._rounded is None:
            self._rounded = dequantize(quantize(self.values, via), via)
        return self._rounded

    def _not_finite(self, index: tuple[int, int], what: str) -> NotFiniteError:
        name, row, col = self.task.tensor.name, self.task.start + index[0], index[1]
        value = self.values[index]
        return NotFiniteError(
            f"{name}: the weight at row {row}, column {col}, {value}, {what}: the checkpoint is "
            "damaged, or needs another type; --nonfinite says what else can become of such weights",
            tensor=name,
            index=(row, col),
        )


def execute(
    plan: Plan,
    journal_path: Path,
    *,
    on_file_complete: OnFileComplete | None = None,
    executor: Executor | None = None,
    jobs: int | None = None,
    report: bool = True,
    progress: Progress = lambda _: None,
) -> Report:
    """Write the files of a plan, but those that are delivered already.

    Parameters
    ----------
    plan : Plan
        From `ggufkit.converter.planning.planner.make_plan`; with `by_part` if files are handed
        over, so that they are completed one after another.
    journal_path : Path
        Where finished tasks are noted; for the caller to remove when it is done.
    on_file_complete : callable, optional
        Called with each file as soon as it is complete, one at a time and in another thread; may
        remove the file. By default all files get their final names together, at the end.
    executor : Executor, optional
        What runs the tasks; by default a pool of `jobs` threads.
    jobs : int, optional
        Tasks at a time, see `ggufkit.converter.planning.resources.jobs_of`.
    report : bool
        Whether errors are measured.
    progress : callable
        Called with the bytes that each finished task has written.

    Returns
    -------
    Report
        Errors by tensor and encoding.

    Raises
    ------
    GGUFKitError
        The same call goes on where it stopped.
    """
    jobs = jobs_of(plan, jobs)
    one_by_one = on_file_complete is not None
    check_space(plan.parts, peak_bytes(plan, jobs) if one_by_one else all_bytes(plan))
    ladder = journal_key(plan, report=report)
    with ExitStack() as stack:
        journal = stack.enter_context(closing(Journal(journal_path, ladder)))
        pool = executor or stack.enter_context(ThreadPoolExecutor(jobs))
        outputs = stack.enter_context(OutputSet(plan, journal, on_file_complete))
        progress(outputs.n_bytes_done)
        # What is announced of the disk counts single tasks.
        bundle = 1 if executor is None or one_by_one else bundle_for(plan.n_tasks, jobs)
        work = partial(run_task, report=report)
        with closing(map_bounded(work, outputs.tasks(), pool, jobs, bundle)) as results:
            outputs.collect(results, progress)
    return Report.collect(journal.done.values())


def journal_key(plan: Plan, *, report: bool) -> str:
    """Return what a journal is called by: a run goes on where one of the same key has stopped."""
    return f"{plan.digest}{' by part' if plan.by_part else ''}{' report' if report else ''}"


def check_space(parts: Sequence[OutputFile], n_bytes: int) -> None:
    """Refuse to begin what the disk has no room for; what earlier runs have written counts.

    Parameters
    ----------
    parts : sequence of OutputFile
        What is written.
    n_bytes : int
        How much of it is on the disk at a time.

    Raises
    ------
    OutputError
        The files need more than is free.
    """
    if not parts:
        return
    folder = parts[0].path.parent
    needed = n_bytes - sum(map(_allocated, parts))
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise OutputError(
            f"{folder}: the files need {needed} bytes more, {free} are free on this disk; free "
            "some, choose another folder or fewer file types"
        )


def _allocated(part: OutputFile) -> int:
    """Return the bytes on disk of a part or of its partial file."""
    for path in (part.path, partial_path(part.path)):
        if path.is_file():
            return min(part.layout.file_size, path.stat().st_blocks * 512)
    return 0
