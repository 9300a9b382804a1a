"""Copies of a file in another byte order.

In a big-endian file the bytes of every number are reversed: counts, lengths and values in the
header, and the fields of blocks that are wider than a byte (scales, and whatever ggml reads as 16
or 32 bits at once). A codec's layout says which fields these are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from ggufkit.codecs import CODECS
from ggufkit.errors import BadValueError
from ggufkit.gguf.layout import plan_layout
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import chunks_of
from ggufkit.gguf.values import ByteOrder
from ggufkit.io.atomic import PartialFile
from ggufkit.toolbox import Progress, silent
from ggufkit.toolbox.copying import CopyTarget, is_complete, refuse_existing
from ggufkit.types import TensorType

_ORDERS: dict[str, ByteOrder] = {"little": "<", "big": ">"}


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
        Byte order of the new file. llama.cpp reads only files in the byte order of its machine.
    dry_run, force, progress
        See `ggufkit.toolbox.copy.copy`.

    Raises
    ------
    BadValueError
        The file is in that order already, or the order is unknown.
    FormatError, MissingFileError, OutputError
        See `ggufkit.toolbox.copy.copy`.
    """
    if order not in _ORDERS:
        raise BadValueError(f"unknown byte order {order!r}, expected little or big")
    with open_gguf(path, strict=False) as model:
        if {part.byte_order for part in model.parts} == {_ORDERS[order]}:
            raise BadValueError(f"already {order}-endian", path=path)
        infos = tuple(model.tensors.values())
        layout = plan_layout(model.metadata, infos, order=_ORDERS[order])
        target = CopyTarget(Path(out), layout, infos)
        if not force:
            if is_complete(target, lambda: _pieces(model, target)):
                return replace(target, done_before=True)
            refuse_existing([target])
        if not dry_run:
            _write(model, target, progress)
    return target


def _write(model: GGUFModel, target: CopyTarget, progress: Progress) -> None:
    partial = PartialFile(target.path, target.layout.file_size)
    try:
        partial.write_at(0, target.layout.header)
        for at, data in _pieces(model, target):
            partial.write_at(at, data)
            progress(len(data))
        partial.publish()
    finally:
        partial.discard()


def _pieces(model: GGUFModel, target: CopyTarget) -> Iterator[tuple[int, bytes]]:
    for info, source in zip(target.layout.tensors, target.sources, strict=True):
        start = target.layout.data_offset + info.offset
        for chunk in chunks_of([source]):
            at = start + source.type.row_size(chunk.start)
            yield at, swap_blocks(chunk.read(model), source.type)


def swap_blocks(data: bytes, type: TensorType) -> bytes:  # noqa: A002 - the field's name
    r"""Return whole blocks with the bytes of each field reversed.

    Examples
    --------
    >>> swap_blocks(bytes([1, 2, *range(32)]), TensorType.Q8_0)[:4]
    b'\x02\x01\x00\x01'
    """
    return np.frombuffer(data, CODECS[type].layout).byteswap().tobytes()
