"""Byte ranges of files on the web: retried, bounded, and never more than was asked for.

Connections, redirects, proxies and back-off are huggingface_hub's. Its client drops the
authorization when a redirect leads to another host; a token is sent to the Hub's host only.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ggufkit.errors import MissingFileError, RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOTE = re.compile(r"(?:hf:|https?://)", re.IGNORECASE)
#: hf:owner/name[/file][@revision]
HUB_NAME = re.compile(
    r"hf:(?://)?(?P<repo>[A-Za-z0-9_][\w.\-]*/[\w][\w.\-]*)(?:/(?P<file>[^@]+))?(?:@(?P<revision>.+))?",
    re.IGNORECASE | re.ASCII,
)
TRIES = 5
FIRST_WAIT = 0.2  # seconds, doubled each time
TIMEOUT = 30.0  # seconds without a byte
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


def is_remote(name: object) -> bool:
    """Whether a name is a URL or of the form ``hf:...``."""
    return isinstance(name, str) and REMOTE.match(name) is not None


def hub_url(repo_id: str, file: str, revision: str | None = None) -> str:
    """Return the address of a repository's file; ``HF_ENDPOINT`` is honoured."""
    from huggingface_hub import constants

    return (
        f"{constants.ENDPOINT}/{repo_id}/resolve/{quote(revision or 'main', safe='')}/{quote(file)}"
    )


def url_of(name: str) -> str:
    """Return the address that a remote name means.

    Raises
    ------
    MissingFileError
        It names no file.
    """
    if not name.lower().startswith("hf:"):
        return name
    match = HUB_NAME.fullmatch(name)
    if match is None or not match["file"]:
        raise MissingFileError(f"{name}: write hf:owner/name/file.gguf")
    return hub_url(match["repo"], match["file"], match["revision"])


@dataclass
class RangeReader:
    """Reads ranges of one remote file. Picklable: every process makes its own connections.

    Attributes
    ----------
    url : str
        The address.
    size : int or None
        Bytes of the file, known after the first read.
    received : int
        Bytes read so far.
    token : str or None
        The Hub's access token, if not the stored one.
    version : str
        What the first answer said of the content: its ETag or else the time of its last change.
        Nothing of another version is read. Empty if the server does not say.
    """

    url: str
    size: int | None = None
    received: int = 0
    token: str | None = field(default=None, repr=False)
    version: str = ""
    _condition: dict[str, str] = field(default_factory=dict, repr=False)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return `n_bytes` from `offset` on; fewer only at the file's end.

        Raises
        ------
        MissingFileError
            The file does not exist or may not be read.
        RemoteError
            The server can't be reached, does not support ranges, or sends something else.
        """
        if n_bytes <= 0:
            return b""
        wait = FIRST_WAIT
        for attempt in range(TRIES):
            try:
                return self._read_once(offset, n_bytes)
            except _TryAgainError as error:
                if attempt == TRIES - 1:
                    raise RemoteError(f"{self.url}: {error}; tried {TRIES} times") from None
                time.sleep(wait)
                wait *= 2
        raise RemoteError(f"{self.url}: can't be read")

    map = read  # a server's file can't be looked at without reading it

    def _read_once(self, offset: int, n_bytes: int) -> bytes:
        headers = {
            **self._authorization(),
            **self._condition,
            "Range": f"bytes={offset}-{offset + n_bytes - 1}",
            "Accept-Encoding": "identity",
        }
        with (
            _errors(),
            _session().stream("GET", self.url, headers=headers, timeout=TIMEOUT) as response,
        ):
            self._check_version(response)
            self._check_status(response, offset)
            wanted = self._check_range(response, offset, n_bytes)
            return self._body(response, wanted)

    def _body(self, response: Any, wanted: int) -> bytes:
        parts: list[bytes] = []
        missing = wanted
        for chunk in response.iter_raw():
            parts.append(chunk[:missing])
            self.received += len(chunk)
            missing -= len(parts[-1])
            if not missing:
                return b"".join(parts)
        raise _TryAgainError(f"the answer ended after {wanted - missing} of {wanted} bytes")

    def _check_version(self, response: Any) -> None:
        """Raise unless an answer with content is of the version that was read before."""
        if response.status_code not in (200, 206):
            return
        found = version_of(response)  # an answer may leave it out
        if self.version and found not in ("", self.version):
            raise RemoteError(f"{self.url}: the file changed while it was read; run again")
        if response.status_code == 200 and self._condition:
            self._condition = {}
            raise _TryAgainError("the server sends all of the file")

    def _check_status(self, response: Any, offset: int) -> None:
        status = response.status_code
        if status == 206:
            return
        if status in (408, 425, 429) or status >= 500:
            raise _TryAgainError(f"the server answers {status}")
        if status in (401, 403):
            raise MissingFileError(f"{self.url}: not allowed ({status}); is a token needed?")
        if status == 404:
            raise MissingFileError(f"{self.url}: no such file")
        if status == 200:
            raise RemoteError(
                f"{self.url}: the server does not support byte ranges; download the file first"
            )
        if status == 416:
            raise RemoteError(f"{self.url}: the file has no byte {offset}")
        raise RemoteError(f"{self.url}: the server answers {status}")

    def _check_range(self, response: Any, offset: int, n_bytes: int) -> int:
        """Return how many bytes the server will send, checking its headers."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            raise RemoteError(f"{self.url}: the server does not state which bytes it sends")
        first, last, size = map(int, match.groups())
        if first != offset or last < first or last >= size or last - first >= n_bytes:
            raise RemoteError(f"{self.url}: the server sends other bytes than requested")
        if self.size not in (None, size):
            raise RemoteError(f"{self.url}: the file changed while it was read; run again")
        if last - first + 1 < min(n_bytes, size - offset):
            raise RemoteError(f"{self.url}: the server sends fewer bytes than requested")
        if not self.version:
            self.version = version_of(response)
            # a weak ETag can't be a condition
            self._condition = {"If-Range": self.version} if self.version[:1] == '"' else {}
        self.size = size
        return last - first + 1

    def _authorization(self) -> dict[str, str]:
        from huggingface_hub import constants
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        to_the_hub = urlsplit(self.url).netloc == urlsplit(constants.ENDPOINT).netloc
        headers: dict[str, str] = build_hf_headers(token=self.token if to_the_hub else False)
        return headers


def version_of(response: Any) -> str:
    """Return what a server's answer says of the file's content."""
    headers = response.headers
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


class _TryAgainError(Exception):
    """An error that is worth retrying."""


def _session() -> Any:
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]

    return get_session()


@contextmanager
def _errors() -> Iterator[None]:
    """Turn transport errors into errors that are retried."""
    try:
        yield
    except MissingFileError:
        raise
    except Exception as error:
        # Its classes are named, not imported: which HTTP library it is has changed before.
        names = {parent.__name__ for parent in type(error).__mro__}
        if "TransportError" in names or isinstance(error, OSError):
            raise _TryAgainError(str(error) or type(error).__name__) from None
        raise
