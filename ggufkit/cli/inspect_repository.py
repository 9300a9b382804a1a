"""The GGUF files of a repository, listed as a ladder."""

from __future__ import annotations

import re

from ggufkit.cli import render
from ggufkit.cli.json_output import emit
from ggufkit.errors import MissingFileError, RemoteError

_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


def show_repository(repo_id: str, revision: str | None, *, as_json: bool) -> int:
    """List a repository's GGUF files with sizes and, for the smallest, bits per weight.

    Raises
    ------
    MissingFileError
        There is no such repository, or it has no GGUF file.
    RemoteError
        The Hub can't be reached.
    """
    files = ladder_of(list_files(repo_id, revision))
    if not files:
        raise MissingFileError(f"hf:{repo_id}: the repository has no GGUF files")
    n_weights = _n_weights(repo_id, revision, files)
    listed = [
        {
            "file": name,
            "parts": parts,
            "bytes": size,
            "bits_per_weight": round(8 * size / n_weights, 2) if n_weights else None,
        }
        for name, (parts, size) in sorted(files.items(), key=lambda item: item[1][1])
    ]
    if as_json:
        emit(listed)
        return 0
    rows = [
        (
            str(f["file"]),
            f"{f['parts']}" if f["parts"] != 1 else "",
            render.size(int(str(f["bytes"]))),
            "" if f["bits_per_weight"] is None else f"{f['bits_per_weight']:.2f}",
        )
        for f in listed
    ]
    render.heading(repo_id)
    render.table(("file", "parts", "size", "bpw"), rows, right=("parts", "size", "bpw"))
    return 0


def list_files(repo_id: str, revision: str | None) -> dict[str, int]:
    """Return the size of each file of a repository.

    Raises
    ------
    MissingFileError, RemoteError
        See `show_repository`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        tree = [*HfApi().list_repo_tree(repo_id, recursive=True, revision=revision)]
    except RepositoryNotFoundError:
        raise MissingFileError(f"hf:{repo_id}: no such repository, or it is private") from None
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise RemoteError(f"hf:{repo_id}: can't be listed: {reason}") from error
    return {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}


def ladder_of(files: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return parts and bytes of each GGUF model, by the name of its first file.

    Examples
    --------
    >>> ladder_of({"a.gguf": 5, "b-00001-of-00002.gguf": 1, "b-00002-of-00002.gguf": 2, "x": 9})
    {'a.gguf': (1, 5), 'b-00001-of-00002.gguf': (2, 3)}
    """
    found: dict[str, tuple[int, int]] = {}
    for name, size in sorted(files.items()):
        if name.lower().endswith(".gguf"):
            match = _PART.search(name)
            first = f"{name[: match.start()]}-00001-of-{match[1]}.gguf" if match else name
            parts, total = found.get(first, (0, 0))
            found[first] = (parts + 1, total + size)
    return found


def _n_weights(repo_id: str, revision: str | None, files: dict[str, tuple[int, int]]) -> int | None:
    """Return the model's weights, as the head of its smallest file says."""
    from ggufkit.errors import GGUFKitError
    from ggufkit.gguf.open import open_gguf

    models = [name for name in files if not name.rpartition("/")[2].startswith("mmproj")]
    if not models:
        return None
    smallest = min(models, key=lambda name: files[name][1])
    at = f"@{revision}" if revision else ""
    try:
        with open_gguf(f"hf:{repo_id}/{smallest}{at}") as model:
            return sum(info.n_weights for info in model.tensors.values())
    except GGUFKitError:  # sizes are worth a list without it
        return None
