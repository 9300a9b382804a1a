"""Going over the tensor data of whole files: in chunks, on threads, with bounded memory.

Everything that looks at all weights (compare, diff, stats, hash, checks, copies) does it here:
`chunks_of` cuts tensors, `map_in_order` works on the chunks, and `sum_by_tensor` adds up what was
found, in file order whatever the number of threads, so that sums of floats are reproducible.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, Self, TypeVar

from ggufkit.gguf.layout import TensorInfo

#: Weights of a chunk, or bytes where they are not decoded: a multiple of every block size. It takes
#: 4 MiB as float32: enough to make the overhead negligible, and little enough for each thread's
#: temporary arrays. Plain bytes stay in a core's cache from reading to hashing.
CHUNK = 1 << 20
#: Chunks under way per thread: a slow one does not make the others wait for it.
QUEUE_PER_THREAD = 4


class _Addable(Protocol):
    def __add__(self, other: Self, /) -> Self: ...


Task = TypeVar("Task")
Result = TypeVar("Result")
Sum = TypeVar("Sum", bound=_Addable)


class _HoldsTensors(Protocol):
    """What chunks are read from: a `GGUFModel`, a `GGUFFile` or alike."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    def read_bytes(self, info: TensorInfo, start: int = 0, size: int | None = None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TensorChunk:
    """Whole blocks of one tensor: its weights `start` to `stop`, counted through rows."""

    name: str
    start: int
    stop: int

    def read(self, file: _HoldsTensors) -> bytes:
        """Return the chunk as a file stores it, in whatever type the tensor has there."""
        info = file.tensors[self.name]
        size_of = info.type.row_size
        return file.read_bytes(info, size_of(self.start), size_of(self.stop - self.start))


def chunks_of(infos: Iterable[TensorInfo]) -> Iterator[TensorChunk]:
    """Cut tensors of known types into chunks."""
    for info in infos:
        for start in range(0, info.n_weights, CHUNK):
            yield TensorChunk(info.name, start, min(start + CHUNK, info.n_weights))


def byte_ranges(n_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch of bytes; yield start and size of each piece."""
    for start in range(0, n_bytes, CHUNK):
        yield start, min(CHUNK, n_bytes - start)


def file_chunks(path: Path) -> Iterator[bytes]:
    """Yield all bytes of a file, of any kind, from front to end."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def map_in_order(
    function: Callable[[Task], Result], tasks: Iterable[Task], n_threads: int | None = None
) -> Iterator[Result]:
    """Yield the results of tasks in their order; only a few are ahead of the one that is yielded.

    Parameters
    ----------
    function : callable
        What is done with each task.
    tasks : iterable
        The work, taken only as there is room for it.
    n_threads : int, optional
        Threads, one per CPU by default; 0 does everything in the caller's.
    """
    if n_threads == 0:
        yield from map(function, tasks)
        return
    n_threads = n_threads or os.cpu_count() or 1
    todo, pool = iter(tasks), ThreadPoolExecutor(n_threads)
    try:
        first = islice(todo, QUEUE_PER_THREAD * n_threads)
        waiting = deque(pool.submit(function, task) for task in first)
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, task) for task in islice(todo, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def sum_by_tensor(
    function: Callable[[TensorChunk], Sum],
    chunks: Iterable[TensorChunk],
    n_threads: int | None = None,
) -> dict[str, Sum]:
    """Return what `function` finds, added up over the chunks of each tensor."""

    def work(chunk: TensorChunk) -> tuple[str, Sum]:
        return chunk.name, function(chunk)

    found: dict[str, Sum] = {}
    for name, part in map_in_order(work, chunks, n_threads):
        found[name] = found[name] + part if name in found else part
    return found
