"""Find the GGUF file for a name: a path, a rung of a ladder's folder, or one of a repository.

``model.gguf`` · ``folder`` · ``folder:Q4_K_M`` · ``owner/name`` · ``owner/name:Q4_K_M``
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ggufkit.checkpoint.hub import REPO_ID
from ggufkit.converter.planning.recipes import DEFAULT_LADDER
from ggufkit.errors import CheckpointError, MissingFileError

# The end of a file name, after the rung; a split model counts as its first part.
_FIRST = r"(?:-00001-of-\d{5})?\.gguf"
_LATER = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def find_model(name: str) -> Path:
    """Return the GGUF file for a name; a repository's file is fetched into the Hub's cache.

    Raises
    ------
    MissingFileError
        There is no such file, or several match.
    CheckpointError
        The repository can't be reached.
    """
    if Path(name).is_file():
        return Path(name)
    place, _, rung = name.rpartition(":") if ":" in name else (name, "", "")
    folder = Path(place)
    if folder.is_dir():
        return folder / choose([path.name for path in folder.glob("*.gguf")], rung, name)
    if REPO_ID.fullmatch(place):
        return _fetch(place, rung, name)
    raise MissingFileError(f"{name}: neither a file nor a folder nor a repository ('owner/name')")


def ladder_files(folder: Path) -> list[Path]:
    """Return the GGUF files of a folder, the largest first; a split counts as its first part.

    Raises
    ------
    MissingFileError
        The folder has no GGUF files.
    """
    files = [path for path in folder.glob("*.gguf") if not _LATER.search(path.name)]
    if not files:
        raise MissingFileError(f"{folder}: no GGUF files; is this the folder of a ladder?")
    return sorted(files, key=lambda path: (-_size(path), path.name))


def _size(path: Path) -> int:
    parts = path.parent.glob(re.sub(r"-00001-of-", "-*-of-", path.name))
    return sum(part.stat().st_size for part in parts)


def choose(names: Iterable[str], rung: str, where: str) -> str:
    """Return the name of a rung's file; without a rung, the only file or the default rung's.

    Raises
    ------
    MissingFileError
        No file matches, or several do.
    """
    first = sorted(name for name in names if name.endswith(".gguf") and not _LATER.search(name))
    if not rung and len(first) == 1:
        return first[0]
    wanted = re.escape(rung or DEFAULT_LADDER)
    found = [n for n in first if re.search(rf"(?:^|[-./]){wanted}{_FIRST}$", n, re.IGNORECASE)]
    if len(found) == 1:
        return found[0]
    if not first:
        raise MissingFileError(f"{where}: no GGUF files")
    what = "several of" if found else "none of"
    raise MissingFileError(
        f"{where}: {rung or DEFAULT_LADDER} is {what} the files: {', '.join(first[:20])}; "
        "add :TYPE to the name"
    )


def _fetch(repo_id: str, rung: str, name: str) -> Path:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().model_info(repo_id).sha
        files = HfApi().list_repo_files(repo_id, revision=commit)
        first = re.escape(choose(files, rung, name))
        pattern = first.replace(r"\-00001\-of", r"\-\d{5}\-of")
        parts = sorted(part for part in files if re.fullmatch(pattern, part))
        paths = [hf_hub_download(repo_id, part, revision=commit) for part in parts]
    except (HfHubHTTPError, OSError) as error:
        if isinstance(error, MissingFileError):
            raise
        reason = str(error).strip().splitlines()[:1] or [repr(error)]
        raise CheckpointError(f"{repo_id}: can't be fetched: {reason[0]}") from error
    return Path(paths[0])
