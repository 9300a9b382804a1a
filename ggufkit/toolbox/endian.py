"""Copies of a file in another byte order, alignment or version.

In a big-endian file every number has its bytes turned around: counts, lengths and values of the
header, and the fields of blocks that are wider than a byte (scales, and what ggml reads as 16 or
32 bits at once). Which these are, a codec's layout says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from ggufkit.codecs import CODECS
from ggufkit.errors import BadValueError, UnsupportedVersionError
from ggufkit.gguf.layout import ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Layout, plan_layout
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import chunks_of
from ggufkit.gguf.values import ByteOrder
from ggufkit.io.atomic import PartialFile
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, copy_tensors, refuse_existing
from ggufkit.types import TensorType, ValueType

_ORDERS: dict[str, ByteOrder] = {"little": "<", "big": ">"}


def copy(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    alignment: int | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> CopyTarget:
    """Write a file anew, in version 3: GGUF 2 becomes 3, odd padding and surplus bytes go.

    Parameters
    ----------
    path, out : path-like
        The file, or any part of a split, which becomes one file; and the file to write.
    alignment : int, optional
        ``general.alignment`` of the new file; a multiple of 8 and a power of 2. By default the
        old one's.
    dry_run : bool
        Plan only.
    force : bool
        Replace `out` if it exists.
    progress : callable
        Is called with bytes as they are copied.

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
                "a big-endian file: 'ggufkit convert-endian' turns it around", path=path
            )
        infos = tuple(model.tensors.values())
        target = CopyTarget(Path(out), _aligned_layout(model, alignment), infos)
        if not force:
            refuse_existing([target])
        if not dry_run:
            copy_tensors(model, [target], progress)
    return target


def _aligned_layout(model: GGUFModel, alignment: int | None) -> Layout:
    metadata = model.metadata.copy()
    if alignment is not None:
        metadata.pop(ALIGNMENT_KEY, None)
        if alignment != DEFAULT_ALIGNMENT:
            metadata.set(ALIGNMENT_KEY, alignment, ValueType.UINT32)
    return plan_layout(metadata, model.tensors.values())


def convert_endian(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    order: Literal["little", "big"],
    *,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> CopyTarget:
    """Write a file in another byte order.

    Parameters
    ----------
    path, out : path-like
        The file, or any part of a split, which becomes one file; and the file to write.
    order : {"little", "big"}
        Of the new file. llama.cpp reads files in the byte order of its machine only.
    dry_run, force, progress
        As for `copy`.

    Raises
    ------
    BadValueError
        The file is in that order already, or there is no such order.
    FormatError, MissingFileError, OutputError
        As for `copy`.
    """
    if order not in _ORDERS:
        raise BadValueError(f"no byte order {order!r}: it is little or big")
    with open_gguf(path, strict=False) as model:
        if {part.byte_order for part in model.parts} == {_ORDERS[order]}:
            raise BadValueError(f"is {order}-endian already", path=path)
        infos = tuple(model.tensors.values())
        layout = plan_layout(model.metadata, infos, order=_ORDERS[order])
        target = CopyTarget(Path(out), layout, infos)
        if not force:
            refuse_existing([target])
        if not dry_run:
            _write(model, target, progress)
    return target


def _write(model: GGUFModel, target: CopyTarget, progress: Progress) -> None:
    partial = PartialFile(target.path, target.layout.file_size)
    try:
        partial.write_at(0, target.layout.header)
        for info, source in zip(target.layout.tensors, target.sources, strict=True):
            at = target.layout.data_offset + info.offset
            for chunk in chunks_of([source]):
                data = swap_blocks(chunk.read(model), source.type)
                partial.write_at(at + source.type.row_size(chunk.start), data)
                progress(len(data))
        partial.publish()
    finally:
        partial.discard()


def swap_blocks(data: bytes, type: TensorType) -> bytes:  # noqa: A002 - the field's name
    r"""Return whole blocks with the bytes of each field turned around.

    Examples
    --------
    >>> swap_blocks(bytes([1, 2, *range(32)]), TensorType.Q8_0)[:4]
    b'\x02\x01\x00\x01'
    """
    return np.frombuffer(data, CODECS[type].layout).byteswap().tobytes()
