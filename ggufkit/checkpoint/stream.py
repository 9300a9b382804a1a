"""Streaming: weights stay on the Hub, and rows are read by byte range when they are needed.

Config, tokenizer and index are fetched into the Hub's cache as usual; of the shards only the
headers are read. The commit is resolved first, so that all of it belongs together. Rows of a
tensor are a range of its shard: what is read once is sent once, and never touches the disk. The
latest ranges are cached in memory (`ggufkit.io.range_cache`), for weights that several tasks need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ggufkit.checkpoint.hub import SMALL_FILES, hub_errors
from ggufkit.checkpoint.safetensors import MAX_HEADER_BYTES, CheckpointTensor, parse_header
from ggufkit.checkpoint.shards import INDEX_NAME, check_index, read_index
from ggufkit.errors import CheckpointError, MissingFileError, RemoteError
from ggufkit.io.guarded_files import has_file, read_json
from ggufkit.io.http_ranges import RangeReader, hub_url
from ggufkit.io.range_cache import RangeCache

if TYPE_CHECKING:
    from typing import Any

FIRST_BYTES = 1 << 16
#: Fetched bytes that each process caches by default.
CACHE_BYTES = 256 << 20
COMMIT = re.compile(r"/resolve/[0-9a-f]{40}/")
_CACHE = RangeCache()


@dataclass(frozen=True)
class RemoteShard:
    """A shard on the Hub. Picklable; every read is a request of its own.

    Attributes
    ----------
    path : PurePosixPath
        The name, for messages.
    url : str
        The address, which names the commit.
    size : int
        The size in bytes.
    cache_bytes : int
        Fetched bytes that a process caches, over all shards.
    version : str
        What the server said of the content when the file was opened.
    """

    path: PurePosixPath
    url: str
    size: int
    cache_bytes: int = CACHE_BYTES
    version: str = ""

    @property
    def identity(self) -> str:
        """A text that changes when the content does, as far as the server tells."""
        return f"{self.url}\0{self.size}\0{self.version}"

    def check(self) -> None:
        """Raise `CheckpointError` unless the server still has the file that was opened."""
        if not COMMIT.search(self.url):  # the content of a commit never changes
            with _errors():
                self._reader().read(0, 1)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset` on.

        Raises
        ------
        CheckpointError
            The Hub can't be reached, or the file ends early.
        """
        with _errors():
            data = _CACHE.read(
                (f"{self.url}\0{self.version}", offset, len(buffer)),
                self.cache_bytes,
                lambda: self._reader().read(offset, len(buffer)),
            )
        if len(data) < len(buffer):
            raise CheckpointError(f"{self.path}: ends at byte {offset + len(data)}")
        buffer[:] = data

    def _reader(self) -> RangeReader:
        return RangeReader(self.url, self.size, version=self.version)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn errors of the network into errors of the checkpoint."""
    try:
        yield
    except (RemoteError, MissingFileError) as error:
        raise CheckpointError(str(error)) from error


def open_remote(
    repo_id: str, revision: str | None = None, cache_bytes: int = CACHE_BYTES
) -> tuple[Path, dict[str, Any], dict[str, CheckpointTensor]]:
    """Return the folder, config and tensors of a repository without fetching its weights.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    revision : str, optional
        Branch, tag or commit.
    cache_bytes : int
        Fetched bytes that each process caches.

    Raises
    ------
    CheckpointError
        The repository can't be reached, found or read, or has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    with hub_errors(repo_id, revision):
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=[*SMALL_FILES]))
        index = read_index(folder) if has_file(folder, INDEX_NAME) else None
        names = sorted(set(index.values())) if index else _listed(HfApi(), repo_id, folder.name)
    if not names:
        raise MissingFileError(
            f"{repo_id}: no model*.safetensors, and other weights can't be streamed; "
            "run again without --stream"
        )
    tensors: dict[str, CheckpointTensor] = {}
    for name in names:
        for found in _read_header(repo_id, name, folder.name, cache_bytes).values():
            if found.name in tensors:
                raise CheckpointError(f"{repo_id}: tensor {found.name!r} is in two shards")
            tensors[found.name] = found
    if index:
        check_index(folder, INDEX_NAME, index, tensors)
    return folder, read_json(folder, "config.json"), tensors


def _listed(api: Any, repo_id: str, commit: str) -> list[str]:
    names = (PurePosixPath(name) for name in api.list_repo_files(repo_id, revision=commit))
    return sorted(str(n) for n in names if len(n.parts) == 1 and n.match("model*.safetensors"))


def _read_header(
    repo_id: str, name: str, commit: str, cache_bytes: int
) -> dict[str, CheckpointTensor]:
    url = hub_url(repo_id, name, commit)
    reader = RangeReader(url)
    with _errors():
        start = reader.read(0, FIRST_BYTES)
        n = int.from_bytes(start[:8], "little")
        if n > MAX_HEADER_BYTES or len(start) < 8:
            raise CheckpointError(f"{repo_id}: {name}: not a safetensors file")
        header = start[8 : 8 + n] + reader.read(len(start), 8 + n - len(start))
    shard = RemoteShard(PurePosixPath(name), url, reader.size or 0, cache_bytes, reader.version)
    return parse_header(header, shard)
