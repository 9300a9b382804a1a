"""Files of a checkpoint folder: never outside the folder, with limits on size and JSON.

A checkpoint is untrusted. A name in it may point anywhere (``../``, a symlink, a FIFO) and its JSON
may be deep, huge or contradictory; the rest of the package opens its files only through these
functions.
"""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

from ggufkit.errors import CheckpointError, MissingFileError
from ggufkit.io.file_kinds import or_else

if TYPE_CHECKING:
    from pathlib import Path

MAX_CONFIG_BYTES = 8 << 20
MAX_INDEX_BYTES = 64 << 20
MAX_TOKENIZER_BYTES = 512 << 20


def find_file(folder: Path, name: str) -> Path:
    """Return the regular file `name` of a checkpoint folder.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    name : str
        A path inside it, such as ``config.json`` or ``1_Pooling/config.json``.

    Raises
    ------
    MissingFileError
        There is no such file.
    CheckpointError
        The path leaves the folder or is not a regular file.
    """
    path = folder / name
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(
            f"{folder}: the file {name!r} is missing; is the download complete?"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:  # loops of links, NUL in the name
        raise CheckpointError(f"{folder}: can't open {name!r}: {error}") from error
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path}: not a regular file")
    if not any(resolved.is_relative_to(home) for home in _homes(folder)):
        raise CheckpointError(
            f"{path}: leads out of the checkpoint, to {resolved}; replace the link with the file"
        )
    return path


def has_file(folder: Path, name: str) -> bool:
    """Whether the checkpoint has a file `name`; an unusable file is an error."""
    try:
        find_file(folder, name)
    except MissingFileError:
        return False
    return True


def _homes(folder: Path) -> tuple[Path, ...]:
    """Where a checkpoint's files may be: its folder and, in the Hub's cache, the blobs."""
    resolved = folder.resolve()
    if resolved.parent.name == "snapshots":
        return resolved, resolved.parent.parent / "blobs"
    return (resolved,)


def read_bytes(folder: Path, name: str, limit: int) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    MissingFileError
        There is no such file.
    CheckpointError
        The file is longer than `limit` bytes or can't be read.
    """
    path = find_file(folder, name)
    try:
        return read_limited(path, limit)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}, too large for a {path.name}") from None


def read_json(folder: Path, name: str, limit: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file.

    ``NaN`` and ``Infinity`` are accepted, as published configs have them.

    Raises
    ------
    MissingFileError
        There is no such file.
    CheckpointError
        The file is too long, is not JSON, repeats a key or holds anything but an object.
    """
    return parse_json_object(read_bytes(folder, name, limit), str(folder / name))


def parse_json(text: bytes | str, **options: Any) -> Any:
    """Return what JSON of any origin says; `options` are those of `json.loads`.

    Raises
    ------
    ValueError
        Not UTF-8, not JSON, or nested too deep: nothing else, as from a file of one's own.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8"), **options)
    except RecursionError:
        raise ValueError("JSON nested too deep") from None


def read_json_file(path: Path, limit: int = MAX_INDEX_BYTES) -> Any:
    """Return what a JSON file says that a user names, or that lies next to ours.

    Raises
    ------
    OSError
        It can't be read.
    ValueError
        It is longer than `limit` bytes, or no JSON.
    """
    return parse_json(read_limited(path, limit))


def read_limited(path: Path, limit: int) -> bytes:
    """Return a file's bytes.

    Raises
    ------
    OSError
        It can't be read.
    ValueError
        It is longer than `limit` bytes.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"it has more than {limit} bytes")
    return data


def parse_json_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `data`; `where` names it in errors.

    Raises
    ------
    CheckpointError
        Not UTF-8, not JSON, nested too deep, a repeated key or not an object.
    """
    try:
        value = parse_json(data, object_pairs_hook=_unique)
    except ValueError as error:
        what = or_else(data, str(error))
        raise CheckpointError(f"{where}: not valid JSON: {what}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: holds a JSON {type(value).__name__}, expected an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:100]!r} appears twice in one object")
            seen.add(key)
    return result
