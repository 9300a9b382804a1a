"""Reading all weights once, in chunks, for the rules that need them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ggufkit.codecs import CODECS
from ggufkit.codecs.range_checks import broken_blocks
from ggufkit.errors import TruncatedError
from ggufkit.toolbox import Progress
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ggufkit.codecs.base import Codec
    from ggufkit.gguf.layout import TensorInfo
    from ggufkit.toolbox.checks.subject import CheckedModel
    from ggufkit.toolbox.checks.survey import LenientHeader

_CHUNK = 4 << 20
_F16_MAX = 65504.0
#: Types whose values are floats, without scales.
FLOATS = (TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.F64)


@dataclass
class TensorDataStats:
    """What is in a tensor's data.

    Attributes
    ----------
    n_broken : int
        TensorDataStats that are NaN or infinite, or blocks whose scale is.
    first_broken : int
        Index of the first such weight, or of its block's first weight; counted through rows.
    n_largest : int
        float16 weights or scales of the largest value there is: they may have been larger.
    is_zero : bool
        Whether all weights are 0.
    """

    n_broken: int = 0
    first_broken: int = -1
    n_largest: int = 0
    is_zero: bool = True


def scan(subject: CheckedModel, jobs: int, progress: Progress) -> dict[str, TensorDataStats]:
    """Read every tensor of known type that is whole; of big-endian files none.

    Raises
    ------
    TruncatedError
        The file has shrunk meanwhile.
    """
    tasks = [
        (part, info)
        for part in subject.parts
        if part.order == "<"
        for info in part.tensors.values()
        if part.is_whole(info) and info.nbytes and (info.type in FLOATS or info.type.is_quantized)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        results = pool.map(lambda task: _scan(task[0], task[1], progress), tasks)
        return {info.name: found for (_, info), found in zip(tasks, results, strict=True)}


def chunks_of(info: TensorInfo, size: int) -> list[tuple[int, int]]:
    """Return starts and sizes of chunks of whole blocks that cover a tensor's data."""
    step = max(size // info.type.type_size, 1) * info.type.type_size
    return [(at, min(step, info.nbytes - at)) for at in range(0, info.nbytes, step)]


def _scan(part: LenientHeader, info: TensorInfo, progress: Progress) -> TensorDataStats:
    found, codec = TensorDataStats(), CODECS[info.type]
    with part.path.open("rb", buffering=0) as file:
        for at, size in chunks_of(info, _CHUNK):
            raw = read_at(file.fileno(), part, part.start_of(info) + at, size)
            first = at // info.type.type_size * info.type.block_size
            if info.type in FLOATS:
                _look_at_floats(found, codec, raw, first)
            else:
                _look_at_blocks(found, codec, raw, first)
            progress(size)
    return found


def read_at(fd: int, part: LenientHeader, at: int, size: int) -> NDArray[np.uint8]:
    """Read bytes of a file.

    Raises
    ------
    TruncatedError
        It has shrunk meanwhile.
    """
    pieces = []
    while size:
        piece = os.pread(fd, size, at)
        if not piece:
            raise TruncatedError("the file changed while in use", path=part.path, offset=at)
        pieces.append(piece)
        at, size = at + len(piece), size - len(piece)
    return np.frombuffer(b"".join(pieces), np.uint8)


@np.errstate(all="ignore")
def _look_at_floats(
    found: TensorDataStats, codec: Codec, raw: NDArray[np.uint8], first: int
) -> None:
    if codec.type is TensorType.BF16:
        bits = raw.view(np.uint16)
        broken = bits & 0x7F80 == 0x7F80
        found.is_zero &= not (bits & 0x7FFF).any()
    else:
        values = raw.view({2: np.float16, 4: np.float32, 8: np.float64}[codec.type.type_size])
        broken = ~np.isfinite(values)
        found.is_zero &= not values.any()
        if codec.type is TensorType.F16:
            found.n_largest += int(np.count_nonzero(raw.view(np.uint16) & 0x7FFF == 0x7BFF))
    _count(found, broken, first, 1)


@np.errstate(all="ignore")
def _look_at_blocks(
    found: TensorDataStats, codec: Codec, raw: NDArray[np.uint8], first: int
) -> None:
    blocks = raw.view(codec.layout)
    _count(found, broken_blocks(codec, blocks.reshape(1, -1))[0], first, codec.type.block_size)
    scales = [n for n in codec.layout.names or () if codec.layout[n].base.kind == "f"]
    for name in scales:
        found.is_zero &= not blocks[name].any()
        if codec.layout[name].base == np.float16:
            found.n_largest += int(np.count_nonzero(np.abs(blocks[name]) == _F16_MAX))
    if not scales:
        found.is_zero &= not raw.any()


def _count(found: TensorDataStats, broken: NDArray[np.bool_], first: int, block_size: int) -> None:
    n_broken = int(np.count_nonzero(broken))
    if n_broken and found.first_broken < 0:
        found.first_broken = first + int(np.argmax(broken)) * block_size
    found.n_broken += n_broken
