"""Execute a plan part by part: each file is handed over as soon as it is whole.

For files that go elsewhere, so that the disk never holds the whole ladder. Tensors are taken in
the order of the files (`Plan.by_part`), so that every rung works on one split at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ggufkit.converter.execution.execute import NOTE_SECONDS, Progress, check_space, run_task
from ggufkit.converter.execution.journal import Journal
from ggufkit.converter.execution.report import Report, TaskResult
from ggufkit.converter.execution.scheduling import map_bounded
from ggufkit.converter.planning.plan import OutputFile, Plan, Task
from ggufkit.converter.planning.resources import jobs_of, peak_bytes
from ggufkit.io.atomic import PartialFile, partial_path

HandOver = Callable[[OutputFile], None]


def relay(
    plan: Plan,
    journal_path: Path,
    hand_over: HandOver,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
    report: bool = True,
    progress: Progress = lambda _: None,
) -> Report:
    """Write the parts of a plan that are not handed over yet, and hand each over.

    Parameters
    ----------
    plan : Plan
        With `by_part`, and with the parts that an earlier run has handed over in `handed`.
    journal_path : Path
        Where finished tasks are noted; for the caller to remove when it is done.
    hand_over : callable
        Is called with each part when its file is whole, one at a time and in another thread. May
        remove the file.
    executor, jobs, report, progress
        See `ggufkit.converter.execution.execute.execute`.

    Raises
    ------
    GGUFKitError
        The same call goes on where it stopped.
    """
    jobs = jobs_of(plan, jobs)
    check_space(plan.parts, peak_bytes(plan, jobs))
    journal = Journal(journal_path, f"{plan.digest} by part{' report' if report else ''}")
    with ExitStack() as stack:
        stack.callback(journal.close)
        pool = executor or stack.enter_context(ThreadPoolExecutor(jobs))
        sender = stack.enter_context(ThreadPoolExecutor(1))
        run = _Relay(plan, journal, sender, hand_over)
        stack.callback(run.close)
        run.take_stock()
        progress(_bytes_handed(plan))
        for result in journal.done.values():
            progress(result.written)
        work = partial(run_task, report=report)
        with closing(map_bounded(work, run.tasks(), pool, jobs)) as results:
            run.finish(results, progress)
    return Report.collect(journal.done.values())


@dataclass
class _Relay:
    """The parts of a ladder: which tasks they lack, and which files are open."""

    plan: Plan
    journal: Journal
    sender: Executor
    hand_over: HandOver
    parts: dict[Path, OutputFile] = field(init=False)
    left: Counter[Path] = field(default_factory=Counter)
    begun: set[Path] = field(default_factory=set)
    files: dict[Path, PartialFile] = field(default_factory=dict)
    running: dict[int, set[Path]] = field(default_factory=dict)
    sending: Future[None] | None = None

    def __post_init__(self) -> None:
        self.parts = {part.path: part for part in self.plan.parts}

    def take_stock(self) -> None:
        """Count what each part lacks, and hand over those that lack nothing."""
        self._count()
        if any(not self._has_what_is_done(path) for path in self.parts):
            self.journal.forget()
            self._count()
        for path in [path for path in self.parts if not self.left[path]]:
            self._send(path)

    def _count(self) -> None:
        self.left.clear()
        self.begun.clear()
        for task in self.plan.tasks():
            paths = _paths(task)
            if task.number in self.journal.done:
                self.begun |= paths
            else:
                self.left.update(paths)

    def _has_what_is_done(self, path: Path) -> bool:
        """Whether what the journal says of a part is on disk."""
        size = self.parts[path].layout.file_size
        candidates = [partial_path(path)] if self.left[path] else [path, partial_path(path)]
        return path not in self.begun or any(
            found.is_file() and found.stat().st_size == size for found in candidates
        )

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks that are left, each with its files open."""
        for task in self.plan.tasks():
            if task.number in self.journal.done or not task.places:
                continue
            self.running[task.number] = _paths(task)
            for path in self.running[task.number]:
                self._open(path)
            yield task

    def finish(self, results: Iterator[TaskResult], progress: Progress) -> None:
        """Note down results as they come, and hand over the parts that they complete."""
        finished: list[TaskResult] = []
        noted = time.monotonic()
        try:
            for result in results:
                finished.append(result)
                progress(result.written)
                whole = self._done(result)
                if whole or time.monotonic() - noted > NOTE_SECONDS:
                    self._note(finished)
                    finished, noted = [], time.monotonic()
                for path in whole:
                    self._send(path)
        finally:
            self._note(finished)
        self._wait()

    def _done(self, result: TaskResult) -> list[Path]:
        """Return the parts that a task was the last of."""
        paths = sorted(self.running.pop(result.number))
        self.left.subtract(paths)
        return [path for path in paths if not self.left[path]]

    def _note(self, finished: Sequence[TaskResult]) -> None:
        if finished:
            for file in self.files.values():
                file.sync()
            self.journal.add(finished)

    def _open(self, path: Path) -> PartialFile:
        if path not in self.files:
            part = self.parts[path]
            file = PartialFile(path, part.layout.file_size, resume=path in self.begun)
            self.files[path] = file
            file.write_at(0, part.layout.header)
        return self.files[path]

    def _send(self, path: Path) -> None:
        """Give a part its name and hand it over, when the one before it has been."""
        if not path.is_file() or partial_path(path).is_file():
            self._open(path).publish()
            del self.files[path]
        self._wait()
        self.sending = self.sender.submit(self.hand_over, self.parts[path])

    def _wait(self) -> None:
        if self.sending is not None:
            self.sending.result()

    def close(self) -> None:
        """Close the files, and keep them for a later run."""
        for file in self.files.values():
            file.close()


def _bytes_handed(plan: Plan) -> int:
    return sum(
        target.n_bytes
        for rung in plan.rungs
        for target in rung.targets.values()
        if rung.parts[target.part].path in plan.handed
    )


def _paths(task: Task) -> set[Path]:
    return {path for places in task.places.values() for path, _ in places}
