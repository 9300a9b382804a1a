"""A repository whose weights stay on the Hub: rows are read by byte range when they are needed.

Config, tokenizer and index are fetched into the Hub's cache as usual; of the shards only the
headers are read. All of it is of one commit, which is found first. A tensor's rows are a range of
its shard, so what is read once is sent once, and nothing of it touches the disk. The last ranges
are kept in memory (`ggufkit.io.range_cache`), for weights that several tasks need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ggufkit.checkpoint.hub import SMALL_FILES, explain
from ggufkit.checkpoint.safetensors import MAX_HEADER_BYTES, CheckpointTensor, parse_header
from ggufkit.checkpoint.shards import INDEX_NAME, check_index, read_index
from ggufkit.errors import CheckpointError, MissingFileError, RemoteError
from ggufkit.io.guarded_files import has_file, read_json
from ggufkit.io.http_ranges import RangeReader, hub_url
from ggufkit.io.range_cache import RangeCache

if TYPE_CHECKING:
    from typing import Any

FIRST_BYTES = 1 << 16
#: Bytes of fetched ranges that each process keeps.
CACHE_BYTES = 256 << 20
_CACHE = RangeCache()


@dataclass(frozen=True)
class RemoteShard:
    """A shard on the Hub. Picklable; every read is a request of its own.

    Attributes
    ----------
    path : PurePosixPath
        Its name, for messages.
    url : str
        Its address, which names the commit.
    size : int
        Its bytes.
    keep : int
        Bytes of all shards that are kept once they have been fetched.
    """

    path: PurePosixPath
    url: str
    size: int
    keep: int = CACHE_BYTES

    @property
    def identity(self) -> str:
        """What tells it from any other."""
        return f"{self.url}\0{self.size}"

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` from the byte `offset` on.

        Raises
        ------
        CheckpointError
            The Hub can't be reached, or the file ends.
        """
        try:
            data = _CACHE.read(
                (self.url, offset, len(buffer)),
                self.keep,
                lambda: RangeReader(self.url, self.size).read(offset, len(buffer)),
            )
        except (RemoteError, MissingFileError) as error:
            raise CheckpointError(str(error)) from error
        if len(data) < len(buffer):
            raise CheckpointError(f"{self.path}: ends at byte {offset + len(data)}")
        buffer[:] = data


def open_remote(
    repo_id: str, revision: str | None = None, keep: int = CACHE_BYTES
) -> tuple[Path, dict[str, Any], dict[str, CheckpointTensor]]:
    """Return folder, config and tensors of a repository without fetching its weights.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    revision : str, optional
        Branch, tag or commit.
    keep : int
        Bytes of fetched ranges that each process keeps.

    Raises
    ------
    CheckpointError
        The repository can't be reached, found or read, or has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=[*SMALL_FILES]))
        index = read_index(folder) if has_file(folder, INDEX_NAME) else None
        names = sorted(set(index.values())) if index else _listed(HfApi(), repo_id, folder.name)
    except Exception as error:  # its own errors and those of the HTTP library it happens to use
        explain(error, repo_id, revision)
    if not names:
        raise MissingFileError(f"{repo_id}: no model*.safetensors; only these can be streamed")
    tensors: dict[str, CheckpointTensor] = {}
    for name in names:
        for found in _read_header(repo_id, name, folder.name, keep).values():
            if found.name in tensors:
                raise CheckpointError(f"{repo_id}: tensor {found.name!r} is in two shards")
            tensors[found.name] = found
    if index:
        check_index(folder, INDEX_NAME, index, tensors)
    return folder, read_json(folder, "config.json"), tensors


def _listed(api: Any, repo_id: str, commit: str) -> list[str]:
    names = (PurePosixPath(name) for name in api.list_repo_files(repo_id, revision=commit))
    return sorted(str(n) for n in names if len(n.parts) == 1 and n.match("model*.safetensors"))


def _read_header(repo_id: str, name: str, commit: str, keep: int) -> dict[str, CheckpointTensor]:
    url = hub_url(repo_id, name, commit)
    reader = RangeReader(url)
    try:
        start = reader.read(0, FIRST_BYTES)
        n = int.from_bytes(start[:8], "little")
        if n > MAX_HEADER_BYTES or len(start) < 8:
            raise CheckpointError(f"{repo_id}: {name}: no safetensors file")
        header = start[8 : 8 + n] + reader.read(len(start), 8 + n - len(start))
    except RemoteError as error:
        raise CheckpointError(str(error)) from error
    shard = RemoteShard(PurePosixPath(name), url, reader.size or 0, keep)
    return parse_header(header, shard)
