"""Reading all weights once, in chunks, for the rules that need them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ggufkit.codecs import CODECS
from ggufkit.codecs.range_checks import broken_blocks
from ggufkit.gguf.scan import TensorChunk, chunks_of, sum_by_tensor
from ggufkit.toolbox import Progress
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ggufkit.codecs.base import Bytes, Codec
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.toolbox.checks.survey import LenientHeader

_F16_MAX = 65504.0
#: Types whose values are floats, without scales.
FLOATS = (TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.F64)


@dataclass(frozen=True)
class TensorDataStats:
    """What a look at a tensor's data found.

    Attributes
    ----------
    n_broken : int
        Weights that are NaN or infinite, or blocks whose scale is.
    first_broken : int
        Index of the first such weight, or of its block's first weight, counted through rows; -1
        if there is none.
    n_largest : int
        float16 weights or scales of the largest finite value: they may have been clipped.
    is_zero : bool
        Whether all weights are 0.
    """

    n_broken: int = 0
    first_broken: int = -1
    n_largest: int = 0
    is_zero: bool = True

    def __add__(self, other: TensorDataStats) -> TensorDataStats:
        """Join with what was found in a later chunk of the same tensor."""
        return TensorDataStats(
            self.n_broken + other.n_broken,
            self.first_broken if self.n_broken else other.first_broken,
            self.n_largest + other.n_largest,
            self.is_zero and other.is_zero,
        )


def scan(
    parts: Iterable[LenientHeader], jobs: int | None, progress: Progress
) -> dict[str, TensorDataStats]:
    """Read every complete tensor of a known type; nothing of big-endian files.

    Raises
    ------
    TruncatedError
        The file has shrunk meanwhile.
    """
    found: dict[str, TensorDataStats] = {}
    for part in parts:
        if part.order == "<":
            look = partial(_look_at, part, progress)
            found |= sum_by_tensor(look, chunks_of(_scannable(part)), jobs)
    return found


def _scannable(part: LenientHeader) -> Iterator[TensorInfo]:
    for info in part.tensors.values():
        if part.is_whole(info) and (info.type in FLOATS or info.type.is_quantized):
            yield info


def _look_at(part: LenientHeader, progress: Progress, chunk: TensorChunk) -> TensorDataStats:
    raw = np.frombuffer(chunk.read(part), np.uint8)
    codec = CODECS[part.tensors[chunk.name].type]
    look = _look_at_floats if codec.type in FLOATS else _look_at_blocks
    with np.errstate(all="ignore"):
        broken, n_largest, is_zero = look(codec, raw)
    progress(raw.nbytes)
    n_broken = int(np.count_nonzero(broken))
    first = chunk.start + int(np.argmax(broken)) * codec.type.block_size if n_broken else -1
    return TensorDataStats(n_broken, first, n_largest, is_zero)


def _look_at_floats(codec: Codec, raw: Bytes) -> tuple[NDArray[np.bool_], int, bool]:
    """Return which weights are broken, how many are the largest, and whether all are 0."""
    if codec.type is TensorType.BF16:
        bits = raw.view(np.uint16)
        return bits & 0x7F80 == 0x7F80, 0, not (bits & 0x7FFF).any()
    values = raw.view({2: np.float16, 4: np.float32, 8: np.float64}[codec.type.type_size])
    n_largest = 0
    if codec.type is TensorType.F16:
        n_largest = int(np.count_nonzero(raw.view(np.uint16) & 0x7FFF == 0x7BFF))
    return ~np.isfinite(values), n_largest, not values.any()


def _look_at_blocks(codec: Codec, raw: Bytes) -> tuple[NDArray[np.bool_], int, bool]:
    """Return which blocks are broken, how many scales are the largest, and whether all are 0."""
    blocks = raw.view(codec.layout)
    broken = broken_blocks(codec, blocks.reshape(1, -1))[0]
    scales = [n for n in codec.layout.names or () if codec.layout[n].base.kind == "f"]
    if not scales:
        return broken, 0, not raw.any()
    halves = [blocks[name] for name in scales if codec.layout[name].base == np.float16]
    n_largest = sum(int(np.count_nonzero(np.abs(half) == _F16_MAX)) for half in halves)
    return broken, n_largest, not any(blocks[name].any() for name in scales)
