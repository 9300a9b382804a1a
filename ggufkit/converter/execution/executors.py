"""What runs the tasks of a ladder: threads, processes, or the workers of a Dask cluster.

Tasks are picklable, read their source and write their blocks by themselves, and can be run again
without harm. So a cluster needs nothing but the same ggufkit on every machine, and source and
output folder under the same paths (a shared folder). A task whose worker dies is given to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ggufkit.errors import ConversionError
from ggufkit.version import __version__

if TYPE_CHECKING:
    from distributed import Client

DASK = "dask:"
CONNECT_SECONDS = 30


@contextmanager
def open_executor(
    name: str, jobs: int | None = None
) -> Iterator[tuple[Executor | None, int | None]]:
    """Open what a name stands for, and close it in the end.

    Parameters
    ----------
    name : str
        ``threads``, ``processes``, or ``dask:ADDRESS`` with the scheduler's address, such as
        ``dask:tcp://host:8786``.
    jobs : int, optional
        Tasks at a time; by default one per CPU, or per thread of the cluster's workers.

    Yields
    ------
    executor : Executor or None
        For `ggufkit.converter.execution.execute.execute`; None for its own threads.
    jobs : int or None
        Likewise.

    Raises
    ------
    ConversionError
        There is no such executor, or the cluster can't be used.
    """
    if name == "threads":
        yield None, jobs
    elif name == "processes":
        with ProcessPoolExecutor(jobs) as pool:
            yield pool, jobs
    elif name.startswith(DASK):
        with _cluster(name.removeprefix(DASK)) as client:
            threads: dict[str, int] = client.nthreads()  # type: ignore[no-untyped-call]
            executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
            yield executor, jobs or sum(threads.values())
    else:
        raise ConversionError(
            f"unknown executor {name!r}: known are threads, processes and dask:tcp://HOST:PORT"
        )


@contextmanager
def _cluster(address: str) -> Iterator[Client]:
    """Connect to a scheduler whose workers have this ggufkit."""
    try:
        import distributed
    except ImportError:
        raise ConversionError("a cluster needs Dask: pip install 'ggufkit[cluster]'") from None

    try:
        with distributed.Client(  # type: ignore[no-untyped-call]
            address, timeout=CONNECT_SECONDS, set_as_default=False
        ) as client:
            _check_workers(client, address)
            yield client
    except (OSError, ValueError, TypeError) as error:
        raise ConversionError(
            f"dask:{address}: can't be used: {str(error).strip() or type(error).__name__}; "
            "is a scheduler running there?"
        ) from error
    except distributed.scheduler.KilledWorker as error:
        raise ConversionError(
            f"dask:{address}: workers keep dying ({error}); run again when they are well: the "
            "ladder goes on where it is"
        ) from error


def _check_workers(client: Client, address: str) -> None:
    """Raise unless there are workers, all with the version that plans."""
    answers = client.run(worker_version, on_error="return")
    # a worker that went away meanwhile does no harm
    versions = {w: a for w, a in answers.items() if not isinstance(a, OSError)}
    if not versions:
        raise ConversionError(f"dask:{address}: the cluster has no workers; start some")
    for worker, version in versions.items():
        if version != __version__:
            raise ConversionError(
                f"dask:{address}: worker {worker} has ggufkit {version}, here is {__version__}; "
                "install the same everywhere, for the bytes' sake"
            )


def worker_version() -> str:
    """Return the version of the ggufkit that runs this; for workers to say."""
    return __version__
