"""Checkpoints on the Hugging Face Hub: fetch what a conversion needs into the Hub's cache.

A snapshot is downloaded in two steps: first the small files (config, tokenizer, shard index), then
the weights that the index names, so that duplicates in other formats are not fetched. Both steps
use the cache when the Hub can't be reached.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.checkpoint.shards import INDEX_NAME, PATTERNS, TORCH_INDEX_NAME, find_index, read_index
from ggufkit.errors import CheckpointError
from ggufkit.io.guarded_files import has_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REPO_ID = re.compile(r"[A-Za-z0-9_][\w.\-]*/[A-Za-z0-9_][\w.\-]*", re.ASCII)

SMALL_FILES = (
    "config*.json",
    "quant*_config.json",
    "adapter_config.json",
    "model_index.json",
    "generation_config.json",
    "params.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
    "tekken.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template*.json",
    "chat_template*.jinja",
    "additional_chat_templates/*",
    "README.md",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    INDEX_NAME,
    TORCH_INDEX_NAME,
)


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: Path | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    weights: bool = True,
) -> Path:
    """Fetch a repository's checkpoint into the cache and return its folder.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    revision : str, optional
        Branch, tag or commit; by default the repository's main branch.
    cache_dir : Path, optional
        The cache; by default the Hub's own (``HF_HOME``, ``HF_HUB_CACHE``).
    token : str, optional
        An access token; by default the one that the Hub's tools stored.
    endpoint : str, optional
        The Hub's address; by default ``HF_ENDPOINT`` or the public Hub.
    weights : bool
        Whether to fetch the weights, too.

    Returns
    -------
    Path
        The folder of the snapshot, named after its commit.

    Raises
    ------
    CheckpointError
        The repository can't be reached, found or read, and the cache does not have it.
    """
    # Imported here: it takes longer than the rest of ggufkit, and local folders don't need it.
    from huggingface_hub import snapshot_download

    download = partial(
        snapshot_download, repo_id, cache_dir=cache_dir, token=token, endpoint=endpoint
    )
    with hub_errors(repo_id, revision):
        folder = Path(download(revision=revision, allow_patterns=[*SMALL_FILES]))
        if not weights:
            return folder
        here = partial(download, revision=folder.name, ignore_patterns=["*/*"])
        return _download_weights(lambda allow: Path(here(allow_patterns=[*allow])), folder)


def fetch_files(repo_id: str, names: Sequence[str]) -> Path:
    """Fetch files into the cache, as far as a repository has them, and return its folder.

    Raises
    ------
    CheckpointError
        The repository can't be reached, found or read, and the cache does not have it.
    """
    from huggingface_hub import snapshot_download

    with hub_errors(repo_id):
        return Path(snapshot_download(repo_id, allow_patterns=list(names)))


def _download_weights(download: Callable[[Sequence[str]], Path], folder: Path) -> Path:
    """Fetch the safetensors (those of the index, if there is one), or else torch's files."""
    if not has_file(folder, INDEX_NAME):
        folder = download(PATTERNS[:1])
    index = find_index(folder)
    if index is not None:
        return download(sorted(set(read_index(folder, index).values())))
    return folder if any(folder.glob(PATTERNS[0])) else download(PATTERNS[1:])


@contextmanager
def hub_errors(repo_id: str, revision: str | None = None) -> Iterator[None]:
    """Turn the Hub's own errors, and those of its HTTP library, into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        where = repo_id if revision is None else f"{repo_id} at revision {revision!r}"
        raise CheckpointError(f"{where}: can't be fetched: {_advice(error)}") from error


def _advice(error: Exception) -> str:
    """Return what is wrong, and what to do about it."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "access must be granted: accept the terms on its page and run 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository; check the name, or run 'hf auth login' if it is private"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision; give a branch, tag or commit of this repository"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return (
            "the Hub can't be reached, and the repository is not in the cache; "
            "connect, or unset HF_HUB_OFFLINE, or give a local folder"
        )
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
