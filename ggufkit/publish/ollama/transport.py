"""The transport of the client's requests: it skips files that the server has, and counts others.

Needs the package ``httpx``, which comes with ``ollama``.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from ggufkit.toolbox import Progress

_BLOBS = "/api/blobs/"


def sending(progress: Progress) -> httpx.BaseTransport:
    """Return a transport that reports progress.

    Parameters
    ----------
    progress : callable
        Called with bytes of files that are sent, or that the server already has.
    """
    return _Transport(httpx.HTTPTransport(), progress)


class _Transport(httpx.BaseTransport):
    def __init__(self, inner: httpx.BaseTransport, progress: Progress) -> None:
        self._inner = inner
        self._progress = progress

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or _BLOBS not in request.url.path:
            return self._inner.handle_request(request)
        asked = self._inner.handle_request(httpx.Request("HEAD", request.url))
        asked.close()
        if asked.status_code == httpx.codes.OK:
            self._progress(int(request.headers.get("Content-Length", 0)))
            return httpx.Response(httpx.codes.OK, request=request)
        request.stream = _Counted(request.stream, self._progress)
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


class _Counted(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream | httpx.AsyncByteStream, progress: Progress):
        self._stream = stream
        self._progress = progress

    def __iter__(self) -> Iterator[bytes]:
        if not isinstance(self._stream, httpx.SyncByteStream):
            raise TypeError("a stream for another kind of client")
        for chunk in self._stream:
            yield chunk
            self._progress(len(chunk))
