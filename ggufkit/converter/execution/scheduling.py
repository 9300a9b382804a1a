"""A bounded number of tasks at a time, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from itertools import islice
from typing import TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")

# Tasks waiting per worker: enough to keep it busy, few enough to stop at once.
QUEUE_PER_JOB = 4


# Tasks that go to a worker elsewhere at once: what is around a task costs it about a fifth of one.
MOST_IN_BUNDLE = 8


def bundle_for(n_tasks: int, jobs: int) -> int:
    """Return how many tasks go to a worker elsewhere at once: few enough that none waits long."""
    return max(1, min(MOST_IN_BUNDLE, n_tasks // (jobs * 16)))


def map_bounded(
    function: Callable[[Work], Result],
    tasks: Iterable[Work],
    pool: Executor,
    jobs: int,
    bundle: int = 1,
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
        Tasks, or bundles of them, that it runs at a time.
    bundle : int
        Tasks that are handed to it at once.
    """
    todo = iter(tasks)
    bundles = iter(lambda: list(islice(todo, bundle)), [])
    waiting: set[Future[list[Result]]] = set()
    try:
        while True:
            room = jobs * QUEUE_PER_JOB - len(waiting)
            waiting |= {pool.submit(_all, function, some) for some in islice(bundles, room)}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


def _all(function: Callable[[Work], Result], tasks: Sequence[Work]) -> list[Result]:
    return [function(task) for task in tasks]
