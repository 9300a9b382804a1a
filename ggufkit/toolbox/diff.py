"""Differences between two models: metadata, tensors, and by how much their weights differ.

The order of keys and tensors, alignment and splitting are how a model is stored, not what it is:
they do not count as differences, nor do the keys that say so (``split.*``, ``general.alignment``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import dequantize
from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.gguf.layout import ALIGNMENT_KEY, TensorInfo
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.scan import TensorChunk, chunks_of, map_in_order, sum_by_tensor
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT
from ggufkit.gguf.values import Value, encode, encode_array
from ggufkit.toolbox import Progress, silent
from ggufkit.types import TensorType, ValueType

Kind = Literal["only in A", "only in B", "shape", "type", "data"]


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A metadata value; for an array, `type` is that of its items."""

    value: Value
    type: ValueType
    is_array: bool

    def same_as(self, other: TypedValue) -> bool:
        """Whether a file holds the same bytes for both: 0.0 is not -0.0, and NaN equals itself."""
        if (self.type, self.is_array) != (other.type, other.is_array):
            return False
        return self._encoded() == other._encoded()

    def _encoded(self) -> bytes:
        if self.is_array:
            return encode_array(self.value, self.type, errors="surrogateescape")
        return encode(self.value, self.type, errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A key whose value or type differs; a side is None if the key is absent there."""

    key: str
    a: TypedValue | None
    b: TypedValue | None


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """A tensor that differs.

    Attributes
    ----------
    name : str
        The tensor.
    kind : {'only in A', 'only in B', 'shape', 'type', 'data'}
        The first of these that holds.
    a, b : TensorInfo or None
        None if it is absent.
    errors : ErrorSums or None
        Of B's weights against A's, if shapes agree and data was compared.
    """

    name: str
    kind: Kind
    a: TensorInfo | None
    b: TensorInfo | None
    errors: ErrorSums | None = None


@dataclass(frozen=True)
class Difference:
    """All differences between models A and B; false if there are none.

    Attributes
    ----------
    metadata : tuple of KeyDifference
        In A's order, then what only B has.
    tensors : tuple of TensorDifference
        Likewise.
    n_tensors : int
        Tensors in A or B.
    reordered : bool
        Whether common tensors are in another order.
    data_compared : bool
        Whether the weights were compared.
    """

    metadata: tuple[KeyDifference, ...]
    tensors: tuple[TensorDifference, ...]
    n_tensors: int
    reordered: bool
    data_compared: bool

    def __bool__(self) -> bool:
        return bool(self.metadata or self.tensors)

    @property
    def errors(self) -> ErrorSums | None:
        """Errors over all tensors whose shapes agree."""
        known = [tensor.errors for tensor in self.tensors if tensor.errors is not None]
        return sum(known, ErrorSums()) if known else None


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    data: bool = True,
    jobs: int | None = None,
    progress: Progress = silent,
) -> Difference:
    """Compare two models.

    Parameters
    ----------
    a, b : path-like
        Files, or any part of split models.
    data : bool
        Compare the weights too, not only metadata, names, shapes and types.
    jobs : int, optional
        Threads; one per CPU by default.
    progress : callable
        Called with the number of bytes of A and B, as they are compared.

    Raises
    ------
    FormatError, MissingFileError
        A file breaks the format, or is missing.

    Examples
    --------
    >>> import numpy as np, tempfile, ggufkit
    >>> path = tempfile.mkdtemp() + "/{}.gguf"
    >>> for name, x in [("a", 1.0), ("b", 1.5)]:
    ...     data = {"t": (np.full((2, 32), x, np.float32), ggufkit.TensorType.F16)}
    ...     _ = ggufkit.save(path.format(name), {"general.name": name}, data)
    >>> found = ggufkit.diff(path.format("a"), path.format("b"))
    >>> [pair.key for pair in found.metadata], found.tensors[0].kind, found.errors.rmse
    (['general.name'], 'data', 0.5)
    """
    with ExitStack() as opened:
        one, other = (opened.enter_context(open_gguf(path)) for path in (a, b))
        names = list(dict.fromkeys(chain(one, other)))
        found = {name: _compare_infos(one, other, name) for name in names}
        if data:
            found = _DataComparison(one, other, jobs, progress).compare(found)
        return Difference(
            tuple(
                compare_metadata(_without_storage(one.metadata), _without_storage(other.metadata))
            ),
            tuple(tensor for tensor in found.values() if tensor is not None),
            len(names),
            [name for name in one if name in other] != [name for name in other if name in one],
            data,
        )


def compare_metadata(a: Metadata, b: Metadata) -> Iterator[KeyDifference]:
    """Yield every key that differs, in A's order, then what only B has."""
    for key in dict.fromkeys(chain(a, b)):
        one, other = _typed_value(a, key), _typed_value(b, key)
        if one is None or other is None or not one.same_as(other):
            yield KeyDifference(key, one, other)


def _typed_value(metadata: Metadata, key: str) -> TypedValue | None:
    if key not in metadata:
        return None
    is_array = metadata.type_of(key) is ValueType.ARRAY
    item_type = metadata.item_type_of(key) if is_array else metadata.type_of(key)
    return TypedValue(metadata[key], item_type, is_array)


def _without_storage(metadata: Metadata) -> Metadata:
    """Leave out the keys that say how the file is stored."""
    metadata = metadata.copy()
    for key in (NO, COUNT, TENSORS_COUNT, ALIGNMENT_KEY):
        metadata.pop(key, None)
    return metadata


def _compare_infos(a: GGUFModel, b: GGUFModel, name: str) -> TensorDifference | None:
    one, other = a.tensors.get(name), b.tensors.get(name)
    kind: Kind | None = None
    if one is None or other is None:
        kind = "only in B" if one is None else "only in A"
    elif one.shape != other.shape:
        kind = "shape"
    elif one.type is not other.type:
        kind = "type"
    return kind and TensorDifference(name, kind, one, other)


class _DataComparison:
    """Compares the data of two models, in chunks spread over threads."""

    def __init__(self, a: GGUFModel, b: GGUFModel, jobs: int | None, progress: Progress) -> None:
        self.a, self.b = a, b
        self.jobs = jobs
        self.progress = progress

    def compare(
        self, found: dict[str, TensorDifference | None]
    ) -> dict[str, TensorDifference | None]:
        """Add tensors whose bytes differ, and the errors of all that can be measured."""
        alike = self._chunks(name for name, tensor in found.items() if tensor is None)
        for name in filter(None, map_in_order(self._name_if_different, alike, self.jobs)):
            found[name] = TensorDifference(name, "data", self.a.tensors[name], self.b.tensors[name])
        differ = self._chunks(
            name
            for name, tensor in found.items()
            if tensor is not None and tensor.kind in ("type", "data")
        )
        sums = sum_by_tensor(self._measure, differ, self.jobs)
        return {
            name: tensor and replace(tensor, errors=sums.get(name))
            for name, tensor in found.items()
        }

    def _chunks(self, names: Iterable[str]) -> list[TensorChunk]:
        return list(chunks_of(self.a.tensors[name] for name in names))

    def _name_if_different(self, chunk: TensorChunk) -> str | None:
        one, other = chunk.read(self.a), chunk.read(self.b)
        self.progress(len(one) + len(other))
        return None if one == other else chunk.name

    def _measure(self, chunk: TensorChunk) -> ErrorSums:
        one, other = chunk.read(self.a), chunk.read(self.b)
        types = self.a.tensors[chunk.name].type, self.b.tensors[chunk.name].type
        if types[0] is not types[1]:
            self.progress(len(one) + len(other))
        with np.errstate(all="ignore"):  # weights of a broken model may be anything
            return ErrorSums.of(_decode(one, types[0]), _decode(other, types[1]))


def _decode(data: bytes, tensor_type: TensorType) -> NDArray[np.float32]:
    return dequantize(np.frombuffer(data, np.uint8)[np.newaxis], tensor_type)
