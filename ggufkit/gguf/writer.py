"""Writing whole GGUF files: the header, then every tensor at its offset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.errors import BadLayoutError
from ggufkit.io.atomic import PartialFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.gguf.layout import Layout, TensorInfo


def write(
    path: str | os.PathLike[str],
    layout: Layout,
    data: Mapping[str, NDArray[Any]] | Iterable[NDArray[Any]],
) -> Path:
    """Write a whole file, or nothing.

    Parameters
    ----------
    path : path-like
        The file; an existing one is replaced.
    layout : Layout
        From `plan_layout`.
    data : mapping of tensor names to arrays, or iterable of arrays in the layout's order
        Of any dtype; only the bytes count, and there must be as many as the tensor has.

    Raises
    ------
    BadLayoutError
        A tensor is missing, unknown, or of another size than laid out.
    OutputError
        The file can't be written.
    """
    partial = PartialFile(path, layout.file_size)
    try:
        partial.write_at(0, layout.header)
        for info, array in _matched(layout, data):
            partial.write_at(layout.data_offset + info.offset, _as_bytes(array))
        return partial.publish()
    finally:
        partial.discard()


def _matched(
    layout: Layout, data: Mapping[str, NDArray[Any]] | Iterable[NDArray[Any]]
) -> Iterator[tuple[TensorInfo, NDArray[Any]]]:
    if isinstance(data, Mapping):
        names = {info.name for info in layout.tensors}
        if names != set(data):
            odd = sorted(names ^ set(data))
            raise BadLayoutError(f"layout and data differ in tensors: {', '.join(odd[:5])}")
        data = map(data.__getitem__, (info.name for info in layout.tensors))
    arrays = iter(data)
    for info in layout.tensors:
        array = next(arrays, None)
        n_bytes = None if array is None else array.nbytes
        if array is None or n_bytes != info.nbytes:
            raise BadLayoutError(
                f"tensor {info.name!r} needs {info.nbytes} bytes of data, got {n_bytes}"
            )
        yield info, array
    if next(arrays, None) is not None:
        raise BadLayoutError(f"more arrays than the layout's {len(layout.tensors)} tensors")


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
