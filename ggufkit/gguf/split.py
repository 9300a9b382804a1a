"""Models split over files named ``NAME-00001-of-00005.gguf``.

The first part holds all metadata; every part holds three more keys::

    split.no            u16   number of the part, from 0
    split.count         u16   number of parts
    split.tensors.count i32   tensors in all parts together

The keys are llama.cpp's and not in the specification. Two programs split files, with small
differences (`SplitStyle`): the converter, and ``llama-gguf-split``. `ggufkit.gguf.open` reads the
parts as one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ggufkit.errors import BadValueError, LimitExceededError
from ggufkit.gguf import limits
from ggufkit.gguf.layout import DEFAULT_ALIGNMENT, TensorInfo, TensorSpec, align, tensor_info

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ggufkit.gguf.metadata import Metadata

NO, COUNT, TENSORS_COUNT = "split.no", "split.count", "split.tensors.count"

_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9}
_PART_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class SplitStyle:
    """Differences between the programs that split.

    Attributes
    ----------
    keys : tuple of str
        The order of the three keys.
    padded : bool
        Whether padding counts for the size limit.
    always : bool
        Whether a model that fits into one part also gets the keys and a part's name.
    """

    keys: tuple[str, str, str]
    padded: bool
    always: bool


#: As convert_hf_to_gguf.py splits (gguf-py's ``GGUFWriter``).
CONVERTER = SplitStyle((NO, COUNT, TENSORS_COUNT), padded=False, always=False)
#: As llama-gguf-split splits.
GGUF_SPLIT = SplitStyle((NO, TENSORS_COUNT, COUNT), padded=True, always=True)


@dataclass(frozen=True)
class SplitPart:
    """One file of a split model: the arguments of `plan_layout`."""

    metadata: Metadata
    tensors: tuple[TensorInfo, ...]


def parse_size(text: str) -> int:
    """Parse a size such as ``2G``: a number, optionally with K, M or G (powers of 1000).

    Raises
    ------
    BadValueError
        It is malformed, or zero.

    Examples
    --------
    >>> parse_size("300M")
    300000000
    """
    match = re.fullmatch(r"(\d+)([KMG]?)", text, re.ASCII)
    if not match or not int(match[1]):
        raise BadValueError(
            f"{text!r} is not a size, expected a number above 0, optionally with K, M or G"
        )
    return int(match[1]) * _UNITS.get(match[2], 1)


def part_name(stem: str, index: int, count: int) -> str:
    """Return the file name of part `index`, counted from 0 (``llama_split_path``).

    Examples
    --------
    >>> part_name("model-Q8_0", 0, 3)
    'model-Q8_0-00001-of-00003.gguf'
    """
    return f"{stem}-{index + 1:05d}-of-{count:05d}.gguf"


def parse_part_name(name: str) -> tuple[str, int, int] | None:
    """Return stem, number from 0 and count of a part's file name, or None."""
    match = _PART_NAME.fullmatch(name)
    return (match[1], int(match[2]) - 1, int(match[3])) if match else None


def plan_split(
    metadata: Metadata,
    tensors: Iterable[TensorSpec],
    *,
    max_bytes: int = 0,
    max_tensors: int = 0,
    no_tensor_first: bool = False,
    style: SplitStyle = CONVERTER,
) -> list[SplitPart]:
    """Distribute tensors over parts, in order.

    Parameters
    ----------
    metadata : Metadata
        Of the whole model.
    tensors : iterable of TensorInfo or (name, shape, type)
        In file order.
    max_bytes : int
        Maximum bytes of tensor data in a part, 0 for no limit; a larger tensor gets its own part.
    max_tensors : int
        Maximum tensors in a part, 0 for no limit.
    no_tensor_first : bool
        Leave the first part without tensors, so that metadata is a small download.
    style : SplitStyle
        Which program to follow.

    Raises
    ------
    LimitExceededError
        More than 65535 parts.
    """
    groups: list[list[TensorInfo]] = [[], []] if no_tensor_first else [[]]
    size = 0
    for tensor in map(tensor_info, tensors):
        step = align(tensor.nbytes, DEFAULT_ALIGNMENT) if style.padded else tensor.nbytes
        full = 0 < max_tensors <= len(groups[-1]) or 0 < max_bytes < size + step
        if full and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += step
    if len(groups) == 1 and not style.always:
        return [SplitPart(metadata, tuple(groups[0]))]
    if len(groups) > limits.MAX_PARTS:
        raise LimitExceededError(f"{len(groups)} parts; the limit is {limits.MAX_PARTS}")
    return [
        SplitPart(_part_metadata(metadata, index, groups, style), tuple(group))
        for index, group in enumerate(groups)
    ]


def _part_metadata(
    metadata: Metadata, index: int, groups: list[list[TensorInfo]], style: SplitStyle
) -> Metadata:
    values = {NO: index, COUNT: len(groups), TENSORS_COUNT: sum(map(len, groups))}
    part = metadata.copy() if index == 0 else type(metadata)()
    for key in style.keys:
        part.pop(key, None)
        part[key] = values[key]
    return part
