"""Merging the parts of a split model: the bytes of ``llama-gguf-split --merge``."""

from __future__ import annotations

import os
from pathlib import Path

from ggufkit.errors import BadValueError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, write_targets


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
        See `ggufkit.toolbox.copy.copy`.

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
        (done,) = write_targets(model, (target,), dry_run=dry_run, force=force, progress=progress)
    return done
