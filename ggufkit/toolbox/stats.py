"""What a file's weights are like: range, spread, outliers, zeros, and what is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs import dequantize
from ggufkit.gguf.layout import TensorInfo
from ggufkit.gguf.model import GGUFModel
from ggufkit.toolbox import Progress, silent

CHUNK_WEIGHTS = 1 << 20
#: Standard deviations from the mean beyond which a weight is an outlier.
OUTLIER = 6.0
ZERO_BLOCK = 32


@dataclass(frozen=True)
class TensorStats:
    """What one tensor's weights are like.

    Attributes
    ----------
    name, type : str
        The tensor and its type.
    n_weights : int
        All of them.
    least, most, mean, std : float
        Of the weights that are finite; 0 where there are none.
    n_outliers : int
        Weights further than `OUTLIER` standard deviations from the mean.
    n_zero_blocks : int
        Runs of 32 weights in a row that are all 0.
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
        """Return everything by name."""
        return {**vars(self)}


def tensor_stats(
    file: GGUFModel,
    wanted: Callable[[str], bool] = lambda _: True,
    *,
    jobs: int | None = None,
    progress: Progress = silent,
) -> list[TensorStats]:
    """Decode a file's weights, some at a time, and measure them.

    Parameters
    ----------
    file : GGUFModel
        From `ggufkit.open`; a remote one is fetched.
    wanted : callable
        Says of a name whether that tensor is measured.
    jobs : int, optional
        Tensors at a time; by default one per CPU.
    progress : callable
        Is called with bytes as they are read.

    Raises
    ------
    FormatError
        The file has shrunk since it was opened.
    """
    infos = [info for info in file.tensors.values() if wanted(info.name)]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda info: _measure(file, info, progress), infos))


def _measure(file: GGUFModel, info: TensorInfo, progress: Progress) -> TensorStats:
    total, squares, n = 0.0, 0.0, 0
    least, most = np.inf, -np.inf
    zero_blocks = nonfinite = 0
    for values in _chunks(file, info, progress):
        finite = values[np.isfinite(values)]
        nonfinite += values.size - finite.size
        zero_blocks += _zero_blocks(values)
        if finite.size:
            least, most = min(least, float(finite.min())), max(most, float(finite.max()))
            total += float(finite.sum(dtype=np.float64))
            squares += float(np.square(finite, dtype=np.float64).sum())
            n += finite.size
    mean = total / n if n else 0.0
    std = sqrt(max(0.0, squares / n - mean * mean)) if n else 0.0
    # the spread has to be known before outliers can be counted; most tensors have none
    far = n > 0 and std > 0 and max(most - mean, mean - least) > OUTLIER * std
    outliers = _outliers(_chunks(file, info, silent), mean, std) if far else 0
    extremes = (least, most) if n else (0.0, 0.0)
    return TensorStats(
        info.name, info.type.name, info.n_weights, *extremes, mean, std, outliers, zero_blocks,
        nonfinite,
    )  # fmt: skip


def _outliers(chunks: Iterable[NDArray[np.float32]], mean: float, std: float) -> int:
    return sum(int((np.isfinite(v) & (np.abs(v - mean) > OUTLIER * std)).sum()) for v in chunks)


def _zero_blocks(values: NDArray[np.float32]) -> int:
    whole = values.size // ZERO_BLOCK * ZERO_BLOCK
    blocks = values[:whole].reshape(-1, ZERO_BLOCK)
    return int(np.count_nonzero(~blocks.any(axis=1)))


def _chunks(file: GGUFModel, info: TensorInfo, progress: Progress) -> Iterator[NDArray[np.float32]]:
    row = info.type.row_size(info.shape[-1] if info.shape else 1)
    if not row or not info.nbytes:
        return
    step = max(1, CHUNK_WEIGHTS * row // max(1, info.shape[-1] if info.shape else 1) // row) * row
    for start in range(0, info.nbytes, step):
        data = file.read_bytes(info, start, min(step, info.nbytes - start))
        blocks = np.frombuffer(data, np.uint8).reshape(-1, row)
        yield dequantize(blocks, info.type).reshape(-1)
        progress(len(data))
