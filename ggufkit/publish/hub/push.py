"""Publish a ladder on the Hub, file by file, except files that the repository already has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.checkpoint.hub import REPO_ID
from ggufkit.converter.execution.manifest import LADDER_NAME, SUMS_NAME, sha256_of
from ggufkit.errors import CheckpointError, ConversionError
from ggufkit.publish.hub.model_card import CARD_NAME, LadderFolder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Done = Callable[["Upload"], None]


@dataclass(frozen=True)
class Upload:
    """A file of the repository.

    Attributes
    ----------
    name : str
        The name in the repository.
    path : Path or None
        The local file; None for the model card.
    n_bytes : int
        The size in bytes.
    sha256 : str
        The SHA-256 of the content.
    present : bool
        Whether the repository already has it.
    """

    name: str
    path: Path | None
    n_bytes: int
    sha256: str
    present: bool = False


def plan_push(
    ladder: LadderFolder,
    card: str,
    repo_id: str,
    *,
    endpoint: str | None = None,
    token: str | None = None,
) -> list[Upload]:
    """Return the files to send, without changing anything.

    Parameters
    ----------
    ladder : LadderFolder
        The ladder.
    card : str
        From `ggufkit.publish.hub.model_card.model_card`.
    repo_id : str
        ``owner/name``; it need not exist.
    endpoint, token : str, optional
        The Hub and its access token; by default those of the Hub's own tools.

    Raises
    ------
    CheckpointError
        The Hub can't be reached.
    """
    check_name(repo_id)
    there = sums_there(repo_id, endpoint, token)
    uploads = [_file(path, ladder) for rung in ladder.rungs for path in rung.files]
    # vision encoders and adapters, which are listed with the ladder
    others = sorted(ladder.sums.keys() - {upload.name for upload in uploads})
    more = [ladder.folder / name for name in (*others, SUMS_NAME, LADDER_NAME)]
    uploads += [_file(path, ladder) for path in more if path.is_file()]
    text = card.encode()
    uploads.append(Upload(CARD_NAME, None, len(text), hashlib.sha256(text).hexdigest()))
    return [replace(u, present=there.get(u.name) == u.sha256) for u in uploads]


def check_name(repo_id: str) -> None:
    """Raise a `ConversionError` unless it is ``owner/name``."""
    if not REPO_ID.fullmatch(repo_id):
        raise ConversionError(f"{repo_id!r} is not a repository: write owner/name")


def push(
    uploads: list[Upload],
    card: str,
    repo_id: str,
    *,
    private: bool | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    done: Done = lambda _: None,
) -> str:
    """Create the repository if need be, and send the files that it lacks, the card last.

    Each file is a separate commit, so that an interrupted push resumes with the next file.

    Parameters
    ----------
    uploads : list of Upload
        From `plan_push`.
    card, repo_id, endpoint, token
        As for `plan_push`.
    private : bool, optional
        Whether a new repository is.
    done : callable
        Called with each file that the repository has.

    Returns
    -------
    str
        The repository's address.

    Raises
    ------
    CheckpointError
        The Hub refuses or can't be reached; repeat the call to resume.
    """
    with hub_client(repo_id, endpoint, token) as api:
        url = api.create_repo(repo_id, private=private, exist_ok=True)
        for upload in uploads:
            if not upload.present:
                send(api, repo_id, upload.name, upload.path or card.encode())
            done(upload)
    return str(url)


def send(api: HfApi, repo_id: str, name: str, content: Path | bytes) -> None:
    """Send a file as a separate commit."""
    api.upload_file(
        path_or_fileobj=content,
        path_in_repo=name,
        repo_id=repo_id,
        commit_message=f"Add {name}",
    )


def _file(path: Path, ladder: LadderFolder) -> Upload:
    known = ladder.sums.get(path.name) or sha256_of(path)
    return Upload(path.name, path, path.stat().st_size, known)


def sums_there(
    repo_id: str, endpoint: str | None = None, token: str | None = None
) -> dict[str, str]:
    """Return the SHA-256 of the repository's large files by name; empty if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    with hub_client(repo_id, endpoint, token) as api:
        try:
            listed = [*api.list_repo_tree(repo_id, recursive=False)]
        except RepositoryNotFoundError:
            return {}
    return {f.path: f.lfs.sha256 for f in listed if isinstance(f, RepoFile) and f.lfs}


@contextmanager
def hub_client(
    repo_id: str, endpoint: str | None = None, token: str | None = None
) -> Iterator[HfApi]:
    """Yield the Hub's client; its errors become `CheckpointError`."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield HfApi(endpoint=endpoint, token=token)
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise CheckpointError(
            f"{repo_id}: can't be published: {reason}; is there a token ('hf auth login')? "
            "Repeat the command to resume"
        ) from error
