"""Statistics of a file's weights: range, spread, outliers, zeros, non-finite values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import dequantize
from ggufkit.gguf.layout import TensorInfo
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.scan import TensorChunk, chunks_of, sum_by_tensor
from ggufkit.toolbox import Progress, silent
from ggufkit.types import TensorType

#: Standard deviations from the mean beyond which a weight is an outlier.
OUTLIER = 6.0
ZERO_BLOCK = 32


@dataclass(frozen=True)
class TensorStats:
    """Statistics of one tensor's weights.

    Attributes
    ----------
    name, type : str
        The tensor and its type.
    n_weights : int
        Their number.
    least, most, mean, std : float
        Of the finite weights; 0 if there are none.
    n_outliers : int
        Weights further than `OUTLIER` standard deviations from the mean.
    n_zero_blocks : int
        Groups of 32 consecutive weights that are all 0.
    n_nonfinite : int
        Weights that are NaN or infinite.
    """

    name: str
    type: str
    n_weights: int
    least: float
    most: float
    mean: float
    std: float
    n_outliers: int
    n_zero_blocks: int
    n_nonfinite: int

    def as_dict(self) -> dict[str, Any]:
        """Return all fields."""
        return {**vars(self)}


def tensor_stats(
    file: GGUFModel,
    wanted: Callable[[str], bool] = lambda _: True,
    *,
    jobs: int | None = None,
    progress: Progress = silent,
) -> list[TensorStats]:
    """Decode a file's weights, chunk by chunk, and measure them.

    Parameters
    ----------
    file : GGUFModel
        From `ggufkit.open`; the weights of a remote one are fetched.
    wanted : callable
        Whether to measure the tensor of a name.
    jobs : int, optional
        Threads; by default one per CPU.
    progress : callable
        Called with the number of bytes, as they are read.

    Raises
    ------
    FormatError
        The file has shrunk since it was opened.
    """
    infos = [info for info in file.tensors.values() if wanted(info.name)]

    def sums_of(chunk: TensorChunk) -> _Sums:
        data = chunk.read(file)
        progress(len(data))
        return _Sums.of(_decode(data, file.tensors[chunk.name].type))

    def outliers_of(chunk: TensorChunk) -> int:
        values = _decode(chunk.read(file), file.tensors[chunk.name].type)
        return found[chunk.name].count_outliers(values)

    found = sum_by_tensor(sums_of, chunks_of(infos), jobs)
    # The spread has to be known before outliers can be counted; most tensors have none.
    far = chunks_of(file.tensors[name] for name, sums in found.items() if sums.has_outliers)
    outliers = sum_by_tensor(outliers_of, far, jobs)
    return [_stats_of(info, found.get(info.name, _Sums()), outliers) for info in infos]


def _stats_of(info: TensorInfo, sums: _Sums, outliers: dict[str, int]) -> TensorStats:
    least, most = (sums.least, sums.most) if sums.n else (0.0, 0.0)
    return TensorStats(
        name=info.name,
        type=info.type.name,
        n_weights=info.n_weights,
        least=least,
        most=most,
        mean=sums.mean,
        std=sums.std,
        n_outliers=outliers.get(info.name, 0),
        n_zero_blocks=sums.n_zero_blocks,
        n_nonfinite=sums.n_nonfinite,
    )


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over a tensor's chunks; `n` counts the finite weights."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float = inf
    most: float = -inf
    n_zero_blocks: int = 0
    n_nonfinite: int = 0

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> _Sums:
        finite = values[np.isfinite(values)]
        skipped = _count_zero_blocks(values), values.size - finite.size
        if not finite.size:
            return cls(0, 0.0, 0.0, inf, -inf, *skipped)
        total = float(finite.sum(dtype=np.float64))
        squares = float(np.square(finite, dtype=np.float64).sum())
        return cls(finite.size, total, squares, float(finite.min()), float(finite.max()), *skipped)

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.n + other.n,
            self.total + other.total,
            self.squares + other.squares,
            min(self.least, other.least),
            max(self.most, other.most),
            self.n_zero_blocks + other.n_zero_blocks,
            self.n_nonfinite + other.n_nonfinite,
        )

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    @property
    def std(self) -> float:
        return sqrt(max(0.0, self.squares / self.n - self.mean**2)) if self.n else 0.0

    @property
    def has_outliers(self) -> bool:
        furthest = max(self.most - self.mean, self.mean - self.least)
        return self.n > 0 and self.std > 0 and furthest > OUTLIER * self.std

    def count_outliers(self, values: NDArray[np.float32]) -> int:
        far = np.abs(values - self.mean) > OUTLIER * self.std
        return int((np.isfinite(values) & far).sum())


def _count_zero_blocks(values: NDArray[np.float32]) -> int:
    whole = values.size // ZERO_BLOCK * ZERO_BLOCK
    blocks = values[:whole].reshape(-1, ZERO_BLOCK)
    return int(np.count_nonzero(~blocks.any(axis=1)))


def _decode(data: bytes, type: TensorType) -> NDArray[np.float32]:  # noqa: A002 - the field's name
    return dequantize(np.frombuffer(data, np.uint8)[np.newaxis], type).reshape(-1)
