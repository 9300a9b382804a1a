"""Splitting a model over files: the bytes of ``llama-gguf-split``.

A split model can be split again: its parts are read as one.
"""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import GGUF_SPLIT, part_name, plan_split
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, write_targets

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
        See `ggufkit.gguf.split.plan_split`; 128 tensors per part if neither limit is given.
    dry_run : bool
        Plan only.
    force : bool
        Replace existing files.
    progress : callable
        Called with the number of bytes, as they are copied.

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
        return write_targets(model, targets, dry_run=dry_run, force=force, progress=progress)
