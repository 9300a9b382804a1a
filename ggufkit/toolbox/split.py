"""Splitting a model over files, and merging them: the bytes of ``llama-gguf-split``.

A split model can be split again: its parts are read as one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.errors import BadValueError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import COUNT, GGUF_SPLIT, NO, TENSORS_COUNT, part_name, plan_split
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, copy_tensors, refuse_existing

if TYPE_CHECKING:
    from ggufkit.gguf.model import GGUFModel

#: Tensors per part if no limit is given, as in llama-gguf-split.
DEFAULT_MAX_TENSORS = 128


def split(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_bytes: int = 0,
    max_tensors: int = 0,
    no_tensor_first: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> tuple[CopyTarget, ...]:
    """Distribute a model over files ``OUT-00001-of-0000N.gguf``, as ``llama-gguf-split``.

    Parameters
    ----------
    path : path-like
        A file, or any part of a model that is split already.
    out : path-like
        Folder and stem of the parts; a suffix ``.gguf`` is dropped.
    max_bytes, max_tensors, no_tensor_first
        See `ggufkit.gguf.split.plan_split`; 128 tensors a part if there is neither limit.
    dry_run : bool
        Plan only.
    force : bool
        Replace files of the parts' names.
    progress : callable
        Is called with bytes as they are copied.

    Returns
    -------
    tuple of CopyTarget
        The parts: ``.path``, ``.layout.file_size``, ``.layout.tensors``.

    Raises
    ------
    FormatError, MissingFileError
        The model can't be read, or would need more than 65535 parts.
    OutputError
        A part exists, or can't be written. No part is left behind.
    """
    out = Path(out)
    stem = out.name.removesuffix(".gguf")
    if not (max_bytes or max_tensors):
        max_tensors = DEFAULT_MAX_TENSORS
    with open_gguf(path) as model:
        parts = plan_split(
            model.metadata,
            model.tensors.values(),
            max_bytes=max_bytes,
            max_tensors=max_tensors,
            no_tensor_first=no_tensor_first,
            style=GGUF_SPLIT,
        )
        targets = tuple(
            CopyTarget(
                out.with_name(part_name(stem, index, len(parts))),
                plan_layout(part.metadata, part.tensors),
                tuple(model.tensors[info.name] for info in part.tensors),
            )
            for index, part in enumerate(parts)
        )
        _write(model, targets, dry_run, force, progress)
    return targets


def merge(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    drop_split_keys: bool = False,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> CopyTarget:
    """Make one file of all parts of a split model, as ``llama-gguf-split --merge``.

    Parameters
    ----------
    path : path-like
        Any of the parts.
    out : path-like
        The file to write.
    drop_split_keys : bool
        Leave out the ``split.*`` keys, which llama-gguf-split keeps, with a count of 0: the
        result is then the file that was split, if llama-gguf-split or ggufkit split it.
    dry_run, force, progress
        See `split`.

    Raises
    ------
    BadValueError
        The file is not a part of a split.
    FormatError, MissingFileError
        A part can't be read.
    OutputError
        The file exists, or can't be written.
    """
    with open_gguf(path) as model:
        metadata = model.parts[0].metadata.copy()
        if not metadata.get(COUNT):
            raise BadValueError(f"not a part of a split: it has no {COUNT}", path=path)
        del metadata[COUNT]
        if drop_split_keys:
            for key in (NO, TENSORS_COUNT):
                metadata.pop(key, None)
        else:
            metadata[COUNT] = 0
        infos = tuple(model.tensors.values())
        layout = plan_layout(metadata, [(info.name, info.shape, info.type) for info in infos])
        target = CopyTarget(Path(out), layout, infos)
        _write(model, (target,), dry_run, force, progress)
    return target


def _write(
    model: GGUFModel,
    targets: tuple[CopyTarget, ...],
    dry_run: bool,
    force: bool,
    progress: Progress,
) -> None:
    if not force:
        refuse_existing(targets)
    if not dry_run:
        copy_tensors(model, targets, progress)
