"""Disk, memory and network traffic that executing a plan needs, estimated beforehand."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from ggufkit.converter.execution.scheduling import QUEUE_PER_JOB
from ggufkit.converter.planning.plan import Plan
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.gguf.layout import DEFAULT_ALIGNMENT

#: Tasks at a time where weights come over the network: most of them wait for their bytes.
STREAM_JOBS = 16
#: Python, numpy, the Hub's client, and the plan of a model of usual size.
BASE_MEMORY = 200 << 20
#: Bytes per weight of a task: as stored, as float32, rounded, encoded, decoded; and masks.
TASK_BYTES = 24


@dataclass(frozen=True)
class ResourceEstimate:
    """Upper bounds in bytes.

    Attributes
    ----------
    disk : int
        The files that exist at the same time.
    memory : int
        The process; approximate.
    network : int
        Weights to download; 0 if they are local.
    """

    disk: int
    memory: int
    network: int


def jobs_of(plan: Plan, jobs: int | None = None) -> int:
    """Return how many tasks run at a time; by default one per CPU, and more over the network."""
    return jobs or max(os.cpu_count() or 1, STREAM_JOBS if plan.source.n_remote else 0)


def estimate_resources(
    plan: Plan, jobs: int | None = None, *, handed_over: bool = False
) -> ResourceEstimate:
    """Estimate what executing a plan needs.

    Parameters
    ----------
    plan : Plan
        What is to be done.
    jobs : int, optional
        Tasks at a time, in threads.
    handed_over : bool
        Whether each file is sent away and removed as soon as it is complete.
    """
    if handed_over:
        plan = replace(plan, by_part=True)  # as it will be executed
    jobs = jobs_of(plan, jobs)
    per_task = max(
        (min(plan.rows_per_task(t), t.n_rows) * t.n_cols for t in plan.source.tensors), default=0
    )
    headers = sum(len(part.layout.header) for part in plan.parts)
    return ResourceEstimate(
        disk=peak_bytes(plan, jobs) if handed_over else all_bytes(plan),
        memory=BASE_MEMORY + headers + jobs * per_task * TASK_BYTES + plan.source.cached_bytes,
        network=plan.source.n_remote,
    )


def all_bytes(plan: Plan) -> int:
    """Return how much of the disk the files of a plan take together."""
    return sum(part.layout.file_size for part in plan.parts)


def peak_bytes(plan: Plan, jobs: int) -> int:
    """Return the most disk space that a plan needs if each complete file is sent away.

    That is: the written part of the unfinished files, the tasks that run ahead of them, and one
    complete file that is being sent.
    """
    sizes = {part.path: part.layout.file_size for part in plan.parts}
    touched = [set(_places(plan, tensor)) & sizes.keys() for tensor in plan.tensors]
    last = {path: i for i, paths in enumerate(touched) for path in paths}
    written: Counter[Path] = Counter()
    most = 0
    for i, (tensor, ahead) in enumerate(zip(plan.tensors, _ahead(plan, jobs), strict=True)):
        for path, n_bytes in _places(plan, tensor).items():
            written[path] += n_bytes
        most = max(most, sum(written[path] for path in sizes if path in written) + ahead)
        for path in touched[i]:
            if last[path] == i:
                del written[path]
    headers = sum(len(part.layout.header) for part in plan.parts)
    return min(all_bytes(plan), most + headers + max(sizes.values(), default=0))


def _places(plan: Plan, tensor: SourceTensor) -> Counter[Path]:
    """Return how many bytes of each file are a tensor's."""
    found: Counter[Path] = Counter()
    for rung in plan.rungs:
        n_bytes = rung.targets[tensor.name].n_bytes
        found[rung.path_of(tensor.name)] += n_bytes + DEFAULT_ALIGNMENT
    return found


def _ahead(plan: Plan, jobs: int) -> list[int]:
    """Return, for each tensor, the bytes of the tasks after it that may be done before its last."""
    tensors = plan.tensors
    n_tasks = list(map(plan.n_tasks_of, tensors))
    n_bytes = [_places(plan, t).total() for t in tensors]
    result = []
    for i in range(len(tensors)):
        room, total = jobs * QUEUE_PER_JOB, 0
        for n, size in zip(n_tasks[i + 1 :], n_bytes[i + 1 :], strict=True):
            total += size * min(n, room) // max(1, n)
            room -= n
            if room <= 0:
                break
        result.append(total)
    return result
