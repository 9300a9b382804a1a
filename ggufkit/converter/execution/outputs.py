"""The files of a plan while they are written: which are open, and what each lacks.

A file is opened at its first task. Of a plan whose files are handed over it gets its final name
when its last task is noted, and is handed over then; else all files get theirs at the end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from ggufkit.converter.execution.journal import Journal, state_of
from ggufkit.converter.execution.report import TaskResult
from ggufkit.converter.planning.plan import OutputFile, Plan, Task
from ggufkit.io.atomic import PartialFile, partial_path
from ggufkit.types import Progress

# Finished tasks are made durable and noted down at least this often.
NOTE_SECONDS = 3.0

OnFileComplete = Callable[[OutputFile], None]


class OutputSet:
    """The files of a plan, and the journal of its tasks.

    A context manager: leaving it closes the files and keeps what is not complete, for a later run
    to resume.

    Parameters
    ----------
    plan : Plan
        What is written.
    journal : Journal
        Where finished tasks are noted.
    on_file_complete : callable, optional
        See `ggufkit.converter.execution.execute.execute`.
    """

    def __init__(
        self, plan: Plan, journal: Journal, on_file_complete: OnFileComplete | None = None
    ) -> None:
        self.plan = plan
        self.journal = journal
        self._on_file_complete = on_file_complete
        self._parts = {part.path: part for part in plan.parts}
        self._missing: Counter[Path] = Counter()  # tasks that a file lacks
        self._begun: set[Path] = set()  # files that noted tasks were written to
        self._complete: set[Path] = set()
        self._open: dict[Path, PartialFile] = {}
        self._running: dict[int, set[Path]] = {}
        self._finished: list[TaskResult] = []
        self._noted_at = time.monotonic()
        # Waiting for the disk, or for a file to be sent, must not keep workers waiting.
        self._threads = ExitStack()
        self._noter = self._threads.enter_context(ThreadPoolExecutor(1))
        self._sender = self._threads.enter_context(ThreadPoolExecutor(1))
        self._noting: Future[None] | None = None
        self._sending: Future[None] | None = None

    def __enter__(self) -> Self:
        """Find what earlier runs have done, and start over if a file of theirs is gone."""
        self._count()
        if not all(map(self._has_what_is_noted, self._parts)):
            self.journal.forget()
            self._count()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._threads.close()
        for file in self._open.values():
            file.close()

    def _count(self) -> None:
        self._missing.clear()
        self._begun.clear()
        done = Counter(result.tensor for result in self.journal.done.values())
        for tensor in self.plan.tensors:
            paths = self.plan.paths_of(tensor)
            n_missing = self.plan.n_tasks_of(tensor) - done[tensor.name]
            self._missing.update(dict.fromkeys(paths, n_missing))
            self._begun |= paths if done[tensor.name] else set()

    def _has_what_is_noted(self, path: Path) -> bool:
        """Whether the results of the tasks that the journal has are on disk."""
        part, partial = self._parts[path], partial_path(path)
        if path not in self._begun:
            return True
        if partial.is_file() and partial.stat().st_size == part.layout.file_size:
            return True
        return not self._missing[path] and self.journal.has_published(path)

    @property
    def n_bytes_done(self) -> int:
        """Bytes that earlier runs have written."""
        delivered = sum(
            target.n_bytes
            for rung in self.plan.rungs
            for name, target in rung.targets.items()
            if rung.path_of(name) in self.plan.delivered
        )
        return delivered + sum(result.written for result in self.journal.done.values())

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks that are left, each with its files open."""
        for task in self.plan.tasks():
            paths = _paths(task)
            if task.number in self.journal.done or not paths:
                continue
            self._running[task.number] = paths
            for path in paths:
                self._opened(path)
            yield task

    def collect(self, results: Iterator[TaskResult], progress: Progress) -> None:
        """Note results as they come, and give the files that they complete their names."""
        if self._on_file_complete is not None:
            self._publish([path for path in self._parts if not self._missing[path]])
        try:
            for result in results:
                self._finished.append(result)
                progress(result.written)
                whole = self._done_with(result)
                if whole and self._on_file_complete is not None:
                    self._publish(whole)
                elif time.monotonic() - self._noted_at > NOTE_SECONDS:
                    self._note()
        finally:
            self._flush()
        self._publish([path for path in self._parts if path not in self._complete])
        _wait(self._sending)

    def _done_with(self, result: TaskResult) -> list[Path]:
        """Return the files that a task was the last of."""
        paths = sorted(self._running.pop(result.number))
        self._missing.subtract(paths)
        return [path for path in paths if not self._missing[path]]

    def _note(self) -> None:
        """Note finished tasks in a thread, unless it is still busy with earlier ones."""
        if self._noting is not None and not self._noting.done():
            return
        _wait(self._noting)
        files, finished = list(self._open.values()), self._finished
        self._finished, self._noted_at = [], time.monotonic()
        self._noting = self._noter.submit(self._note_down, files, finished)

    def _note_down(self, files: list[PartialFile], finished: list[TaskResult]) -> None:
        """Note tasks, once what they wrote is on disk."""
        if finished:
            for file in files:
                file.sync()
            self.journal.add(finished)

    def _flush(self) -> None:
        """Note all finished tasks, and wait until that is done."""
        _wait(self._noting)
        self._note()
        _wait(self._noting)

    def _opened(self, path: Path) -> PartialFile:
        if path not in self._open:
            layout = self._parts[path].layout
            file = PartialFile(path, layout.file_size, resume=path in self._begun)
            self._open[path] = file
            file.write_at(0, layout.header)
        return self._open[path]

    def _publish(self, paths: list[Path]) -> None:
        """Give files that lack nothing their final names, and hand them over."""
        self._flush()
        if paths:
            self.plan.source.check_unchanged()
        for path in paths:
            part = self._parts[path]
            if partial_path(path).is_file() or not self.journal.has_published(path):
                file = self._opened(path)
                file.sync()
                self.journal.add_file(path.name, state_of(file.path))
                file.publish()
                del self._open[path]
            self._complete.add(path)
            if self._on_file_complete is not None:
                _wait(self._sending)
                self._sending = self._sender.submit(self._on_file_complete, part)


def _wait(work: Future[None] | None) -> None:
    """Wait for work of a thread, if there is any, and pass on its errors."""
    if work is not None:
        work.result()


def _paths(task: Task) -> set[Path]:
    return {path for places in task.places.values() for path, _ in places}
