"""What each tensor type would do to each tensor, measured by encoding and decoding its weights.

Nothing is written. Tasks are those of a ladder (`ggufkit.converter.planning.plan.Task`), so any
executor runs them. Of tensors with more than `MOST_TASKS` tasks, evenly spaced ones are measured:
relative errors of a few million weights stand for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import replace

import numpy as np

from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.converter.execution.execute import Rows
from ggufkit.converter.execution.scheduling import map_bounded
from ggufkit.converter.planning.plan import Encoding, Plan, Task
from ggufkit.types import TensorType

# Tasks (of about a million weights) that are measured of a tensor.
MOST_TASKS = 8

Types = Mapping[str, Sequence[TensorType]]
Errors = dict[tuple[str, TensorType], float]


def measure_task(task: Task) -> tuple[Task, dict[TensorType, ErrorSums]]:
    """Encode the rows of a task to each of its types and measure, writing nothing.

    Returns
    -------
    (Task, dict of TensorType to ErrorSums)
        The task; errors weighted by the importance of their columns.
    """
    rows = Rows(task)
    scale = None if task.importance is None else np.sqrt(task.importance)
    return task, {
        encoding.type: rows.errors(rows.encode(encoding), encoding.type, scale=scale)
        for encoding in task.places
    }


def measure_errors(
    plan: Plan,
    types: Types,
    *,
    pool: Executor,
    jobs: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Errors:
    """Measure relative squared errors.

    Parameters
    ----------
    plan : Plan
        Source, importance and how scales are searched; its rungs do not matter.
    types : mapping of str to sequence of TensorType
        Tensor name to the types that are measured.
    pool, jobs
        See `ggufkit.converter.execution.scheduling.map_bounded`.
    progress : callable
        Is called with 1 for each task, of `count_tasks`.

    Returns
    -------
    dict of (str, TensorType) to float
        Sum of squared errors over sum of squared weights, both weighted by importance.
    """
    done = []
    with closing(map_bounded(measure_task, _tasks(plan, types), pool, jobs)) as results:
        for result in results:
            done.append(result)
            progress(1)
    # in one order whatever the workers' speed: sums of floats depend on it
    done.sort(key=lambda result: result[0].number)
    sums: defaultdict[tuple[str, TensorType], ErrorSums] = defaultdict(ErrorSums)
    for task, found in done:
        for type_, part in found.items():
            sums[task.tensor.name, type_] += part
    return {key: s.error2 / s.source2 if s.source2 else 0.0 for key, s in sums.items()}


def count_tasks(plan: Plan, types: Types) -> int:
    """Return how many tasks `measure_errors` runs."""
    measured = [tensor for tensor in plan.source.tensors if tensor.name in types]
    return sum(min(plan.n_tasks_of(tensor), MOST_TASKS) for tensor in measured)


def _tasks(plan: Plan, types: Types) -> Iterator[Task]:
    waiting: list[Task] = []
    for task in plan.only([]).tasks():
        if waiting and task.tensor.name != waiting[0].tensor.name:
            yield from _spaced(waiting, types)
            waiting = []
        waiting.append(task)
    yield from _spaced(waiting, types)


def _spaced(tasks: Sequence[Task], types: Types) -> Iterator[Task]:
    """Yield at most `MOST_TASKS` of a tensor's tasks, as measuring ones."""
    if not tasks or tasks[0].tensor.name not in types:
        return
    encodings = {Encoding(type_, True): () for type_ in types[tasks[0].tensor.name]}
    n = min(len(tasks), MOST_TASKS)
    for i in range(n):
        yield replace(tasks[(2 * i + 1) * len(tasks) // (2 * n)], places=encodings)
