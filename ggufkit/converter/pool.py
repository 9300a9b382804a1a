"""A bounded number of tasks at a time, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")

# Tasks waiting per worker: enough to keep it busy, few enough to stop at once.
QUEUE_PER_JOB = 4


def results_of(
    function: Callable[[Work], Result], tasks: Iterable[Work], pool: Executor, jobs: int
) -> Generator[Result]:
    """Yield the results of tasks as they come.

    Tasks are taken from the iterable only when there is room for them. When the caller stops, or
    a task fails, those that have not begun are cancelled and the others waited for.

    Parameters
    ----------
    function : callable
        What is done with each task; for workers elsewhere, it and the tasks must be picklable.
    tasks : iterable
        The work.
    pool : Executor
        What runs it.
    jobs : int
        Tasks that it runs at a time.
    """
    todo = iter(tasks)
    waiting: set[Future[Result]] = set()
    try:
        while True:
            room = jobs * QUEUE_PER_JOB - len(waiting)
            waiting |= {pool.submit(function, task) for task in islice(todo, room)}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)
