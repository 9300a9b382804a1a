"""Editing a file's metadata and tensor names, in place if the new header fits.

A header must end where the data starts. One of another size fits if the padding takes up the
difference, or the key ``ggufkit.reserved``: an array of zeros that every reader skips, and that is
resized so that the data can stay where it is. Otherwise the file is rewritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ggufkit.errors import (
    BadLayoutError,
    BadValueError,
    MissingKeyError,
    MissingTensorError,
    OutputError,
)
from ggufkit.gguf.layout import Layout, TensorInfo, plan_layout
from ggufkit.gguf.metadata import Metadata, key_type
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.split import COUNT
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.assignments import assign, set_special_token
from ggufkit.toolbox.assignments import retype as retype_key
from ggufkit.toolbox.copying import CopyTarget, copy_tensors, is_written, refuse_existing
from ggufkit.toolbox.diff import KeyDifference, compare_metadata
from ggufkit.toolbox.header_journal import HeaderEditor, journal_path
from ggufkit.toolbox.surplus import left_behind
from ggufkit.types import ValueType

RESERVED = "ggufkit.reserved"


@dataclass(frozen=True)
class Edit:
    """What an edit did, or would do.

    Attributes
    ----------
    path : Path
        The file that was written.
    how : {'unchanged', 'in place', 'rewritten'}
        Unchanged: the header would be the same, or `out` is there already with these bytes.
    metadata : tuple of KeyDifference
        Keys that differ, the key ``ggufkit.reserved`` included.
    renamed_tensors : dict of str to str
        Old names to new ones.
    dropped_tensors : tuple of str
        Tensors that were removed.
    n_bytes : int
        Size of the file afterwards.
    reserved : int
        Bytes of the header that later edits can use.
    """

    path: Path
    how: Literal["unchanged", "in place", "rewritten"]
    metadata: tuple[KeyDifference, ...]
    renamed_tensors: dict[str, str]
    dropped_tensors: tuple[str, ...]
    n_bytes: int
    reserved: int


def edit(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    values: Mapping[str, Any] | None = None,
    assignments: Iterable[str] = (),
    delete: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    retype: Mapping[str, str] | None = None,
    special_tokens: Mapping[str, str] | None = None,
    rename_tensors: Mapping[str, str] | None = None,
    drop_tensors: Iterable[str] = (),
    reserve: int | None = None,
    lenient: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Edit:
    """Change a file's metadata and tensor names, or drop tensors.

    Keys are first deleted, then renamed, then set, then given other types. The file holds either
    all changes or none, whenever the program or the machine stops; an edit in place that was
    interrupted is finished by the next one.

    Parameters
    ----------
    path : path-like
        The file. A part of a split model is edited on its own; the first one holds the metadata.
    out : path-like, optional
        Write another file instead.
    values : mapping, optional
        Keys to set. Standard keys and keys of the file keep their type; for others give pairs
        (value, ValueType).
    assignments : iterable of str
        Keys to set, as ``KEY=VALUE`` or ``KEY:TYPE=VALUE``: see `ggufkit.toolbox.assignments`.
    delete : iterable of str
        Keys.
    rename, rename_tensors : mapping of str to str, optional
        Old names of keys or tensors to new ones.
    retype : mapping of str to str, optional
        Keys to the names of their new types, see `ggufkit.toolbox.assignments.TYPES`.
    special_tokens : mapping of str to str, optional
        Special tokens such as ``eos`` to the token's text or id.
    drop_tensors : iterable of str
        Regular expressions: tensors whose whole name matches are dropped.
    reserve : int, optional
        Bytes to reserve in the header for later edits; 0 removes the reserve.
    lenient : bool
        Also accept what only a lenient reader accepts, such as tensors of unknown types: their
        bytes are copied.
    dry_run : bool
        Change nothing.
    force : bool
        Replace `out` if it exists.
    progress : callable
        Called with the number of bytes, as they are copied.

    Raises
    ------
    MissingKeyError, MissingTensorError
        A key or tensor to delete, rename or drop does not exist.
    MetadataError, FormatError
        A value, name or tensor is not allowed.
    OutputError
        The file can't be written.

    Examples
    --------
    >>> import numpy as np, tempfile, ggufkit
    >>> path = tempfile.mkdtemp() + "/tiny.gguf"
    >>> data = {"t": (np.zeros(8, np.float32), ggufkit.TensorType.F32)}
    >>> _ = ggufkit.save(path, {"general.name": "old"}, data)
    >>> ggufkit.edit(path, values={"general.name": "new"}).how
    'in place'
    """
    path = Path(path)
    with ExitStack() as opened:
        editor = None
        if dry_run and journal_path(path).exists():
            raise OutputError(
                f"{path}: an edit was interrupted; any edit but a dry run finishes it"
            )
        if not dry_run and (out is None or journal_path(path).exists()):
            editor = opened.enter_context(HeaderEditor(path))
        file = opened.enter_context(GGUFFile.open(path, strict=not lenient))
        sources, dropped = _keep(file, drop_tensors)
        metadata = _edit_metadata(file.metadata, delete, rename or {}, values or {}, assignments)
        for key, type_name in (retype or {}).items():
            retype_key(metadata, key, type_name)
        for name, token in (special_tokens or {}).items():
            set_special_token(metadata, name, token)
        if reserve is not None:
            _set_reserve(metadata, reserve)
        names = _renamed([info.name for info in sources], rename_tensors or {})
        specs = [replace(info, name=n) for n, info in zip(names, sources, strict=True)]
        layout, metadata = _plan(file, metadata, specs, resize=reserve is None)
        how = "rewritten" if out else _how(file, layout, sources)
        target = CopyTarget(Path(out) if out else path, layout, sources)
        if how == "rewritten" and target.path.resolve() == path.resolve():
            _refuse_surplus(file, path)
        if out is not None and not force:
            how = _how_anew(file, target)
        result = Edit(
            target.path,
            how,
            tuple(compare_metadata(file.metadata, metadata)),
            dict(rename_tensors or {}),
            dropped,
            layout.file_size if out or how == "rewritten" else file.file_size,
            _reserved(metadata),
        )
        if not dry_run and how == "rewritten":
            copy_tensors(GGUFModel([file]), [target], progress)
        elif editor is not None and how == "in place":
            editor.replace(layout.header)
    return result


def _how_anew(file: GGUFFile, target: CopyTarget) -> Literal["unchanged", "rewritten"]:
    """Return whether another file is still to be written; refuse one with other content."""
    if is_written(GGUFModel([file]), target):
        return "unchanged"
    refuse_existing([target])
    return "rewritten"


def _refuse_surplus(file: GGUFFile, path: Path) -> None:
    """Refuse to rewrite a file in place where that would lose bytes behind the last tensor."""
    kept = left_behind(file)
    if kept is not None:
        raise BadLayoutError(f"rewriting it would lose data: {kept}", path=path)


def _edit_metadata(
    before: Metadata,
    delete: Iterable[str],
    rename: Mapping[str, str],
    values: Mapping[str, Any],
    assignments: Iterable[str],
) -> Metadata:
    metadata = before.copy()
    for key in delete:
        del metadata[key]
    if rename:
        metadata = _rename_keys(metadata, rename)
    for key, value in values.items():
        _set_value(metadata, key, value)
    for text in assignments:
        assign(metadata, text)
    return metadata


def _rename_keys(before: Metadata, rename: Mapping[str, str]) -> Metadata:
    """Return the metadata with keys renamed, in the same order."""
    missing = [key for key in rename if key not in before]
    if missing:
        raise MissingKeyError(f"the metadata has no key {missing[0]!r}")
    after = Metadata()
    for key in before:
        name = rename.get(key, key)
        if name in after:
            raise BadValueError(f"key {name!r} would appear twice: delete one first")
        is_array = before.type_of(key) is ValueType.ARRAY
        after.set(name, before[key], before.item_type_of(key) if is_array else before.type_of(key))
    return after


def _set_value(metadata: Metadata, key: str, value: Any) -> None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], ValueType):
        metadata.set(key, *value)
    elif key_type(key) is None and key in metadata:
        is_array = metadata.type_of(key) is ValueType.ARRAY
        metadata.set(key, value, metadata.item_type_of(key) if is_array else metadata.type_of(key))
    else:
        metadata[key] = value


def _set_reserve(metadata: Metadata, size: int) -> None:
    if size:
        metadata.set(RESERVED, [0] * size, ValueType.UINT8)
    else:
        metadata.pop(RESERVED, None)


def _reserved(metadata: Metadata) -> int:
    """Return the bytes reserved in the header."""
    if (
        RESERVED not in metadata
        or metadata.type_of(RESERVED) is not ValueType.ARRAY
        or metadata.item_type_of(RESERVED) is not ValueType.UINT8
    ):
        return 0
    return metadata.n_items_of(RESERVED)


def _keep(
    file: GGUFFile, drop_tensors: Iterable[str]
) -> tuple[tuple[TensorInfo, ...], tuple[str, ...]]:
    """Return the tensors that stay, and the names of those that are dropped."""
    dropped: list[str] = []
    for pattern in drop_tensors:
        try:
            found = [name for name in file.tensors if re.fullmatch(pattern, name)]
        except re.error as error:
            raise BadValueError(f"{pattern!r} is not a regular expression: {error}") from None
        if not found:
            raise MissingTensorError(f"{file.path}: no tensor's whole name matches {pattern!r}")
        dropped += [name for name in found if name not in dropped]
    count = file.metadata.get(COUNT, 0)
    if dropped and isinstance(count, int) and count > 1:
        raise BadLayoutError(
            "a part of a split model, where every part counts all tensors: merge it first",
            path=file.path,
        )
    kept = (info for name, info in file.tensors.items() if name not in dropped)
    return tuple(kept), tuple(dropped)


def _renamed(names: Collection[str], rename: Mapping[str, str]) -> list[str]:
    missing = [name for name in rename if name not in names]
    if missing:
        raise MissingTensorError(f"no tensor is named {missing[0]!r}")
    return [rename.get(name, name) for name in names]


def _plan(
    file: GGUFFile, metadata: Metadata, specs: list[Any], *, resize: bool
) -> tuple[Layout, Metadata]:
    """Lay the file out, with a reserve resized so that the data can stay where it is."""
    layout = plan_layout(metadata, specs, version=file.version)
    if layout.data_offset == file.data_offset or not (resize and _reserved(metadata)):
        return layout, metadata
    fitted = metadata.copy()
    fitted.set(RESERVED, [], ValueType.UINT8)
    least = plan_layout(fitted, specs, version=file.version)
    if least.data_offset > file.data_offset:
        return layout, metadata
    # Both are multiples of the alignment, so the padding behind the header stays the same.
    fitted.set(RESERVED, [0] * (file.data_offset - least.data_offset), ValueType.UINT8)
    return plan_layout(fitted, specs, version=file.version), fitted


def _how(
    file: GGUFFile, layout: Layout, sources: tuple[TensorInfo, ...]
) -> Literal["unchanged", "in place", "rewritten"]:
    if (
        (layout.data_offset, layout.alignment) != (file.data_offset, file.alignment)
        or [info.offset for info in layout.tensors] != [info.offset for info in sources]
        or len(sources) != len(file.tensors)
        or file.file_size < file.data_offset
    ):
        return "rewritten"
    path = file.path or Path()
    with path.open("rb") as current:
        if current.read(len(layout.header)) == layout.header:
            return "unchanged"
    # Other names of the same file should keep what they name.
    return "in place" if path.stat().st_nlink == 1 else "rewritten"
