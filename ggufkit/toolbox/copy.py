"""Copies of a file in another alignment or version."""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.errors import UnsupportedVersionError
from ggufkit.gguf.layout import ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Layout, plan_layout
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, write_targets
from ggufkit.types import ValueType


def copy(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    alignment: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> CopyTarget:
    """Rewrite a file in version 3, without odd padding or surplus bytes.

    Parameters
    ----------
    path, out : path-like
        The file, or any part of a split model, which becomes one file; and the file to write.
    alignment : int, optional
        ``general.alignment`` of the new file, a power of two from 8 on; unchanged by default.
    dry_run : bool
        Plan only.
    force : bool
        Replace `out` if it exists.
    progress : callable
        Called with the number of bytes, as they are copied.

    Raises
    ------
    FormatError, MissingFileError
        The file can't be read, or the alignment is not allowed.
    OutputError
        `out` exists, or can't be written.
    """
    with open_gguf(path, strict=False) as model:
        if model.parts[0].byte_order == ">":
            raise UnsupportedVersionError(
                "a big-endian file: 'ggufkit convert-endian FILE OUT little' turns it", path=path
            )
        infos = tuple(model.tensors.values())
        target = CopyTarget(Path(out), _aligned_layout(model, alignment), infos)
        (done,) = write_targets(model, (target,), dry_run=dry_run, force=force, progress=progress)
    return done


def _aligned_layout(model: GGUFModel, alignment: int | None) -> Layout:
    metadata = model.metadata.copy()
    if alignment is not None:
        metadata.pop(ALIGNMENT_KEY, None)
        if alignment != DEFAULT_ALIGNMENT:
            metadata.set(ALIGNMENT_KEY, alignment, ValueType.UINT32)
    return plan_layout(metadata, model.tensors.values())
