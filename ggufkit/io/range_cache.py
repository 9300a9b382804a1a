"""A cache of byte ranges, for those that are needed more than once.

Most rows are read once. The columns of a transposed weight and the words of a packed one are
needed by several tasks, possibly at the same time: the first fetches, the others wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

Key = tuple[str, int, int]


class RangeCache:
    """Ranges by address, first byte and length; the least recently used are dropped first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[Key, Future[bytes]] = OrderedDict()
        self._n_bytes = 0

    def read(self, key: Key, limit: int, fetch: Callable[[], bytes]) -> bytes:
        """Return a cached range, or else what `fetch` returns.

        Parameters
        ----------
        key : (str, int, int)
            Address, first byte and length.
        limit : int
            Bytes to cache at most.
        fetch : callable
            Returns the range; called once at a time, and its errors are not cached.
        """
        if key[2] > limit:
            return fetch()
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                mine = self._kept[key] = Future()
                self._n_bytes += key[2]
                while self._n_bytes > limit:
                    self._drop(next(iter(self._kept)))
            else:
                self._kept.move_to_end(key)
        if found is not None:
            return found.result()
        try:
            mine.set_result(fetch())
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                if self._kept.get(key) is mine:
                    self._drop(key)
            raise
        return mine.result()

    def _drop(self, key: Key) -> None:
        del self._kept[key]
        self._n_bytes -= key[2]
