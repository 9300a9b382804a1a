"""Types of a checkpoint's tensors, and which of them hold a file's values exactly.

bfloat16 and float16 hold a value if it survives a round trip bit for bit. If a conversion computed
it (`ElementWise`), they hold it if one of their numbers gives the file's value bit for bit; if any
does, it is the one nearest to the inverse. Near 0 there may be several: then the original one is
unknown, but a conversion gives the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.codecs.formats.plain import round_bf16, widen_bf16
from ggufkit.mapping.transforms import ElementWise, Floats


@dataclass(frozen=True)
class Dtype:
    """A float type of safetensors.

    Attributes
    ----------
    name : str
        The name in headers: ``BF16``.
    torch : str
        The name in config.json: ``bfloat16``.
    size : int
        Bytes per value.
    narrow, widen : callable
        From float32 and back.
    """

    name: str
    torch: str
    size: int
    narrow: Callable[[Floats], NDArray[Any]]
    widen: Callable[[NDArray[Any]], Floats]


def _to_f16(values: Floats) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return values.astype("<f2")


DTYPES: Mapping[str, Dtype] = MappingProxyType(
    {
        "bf16": Dtype("BF16", "bfloat16", 2, round_bf16, widen_bf16),
        "f16": Dtype("F16", "float16", 2, _to_f16, lambda stored: stored.astype(np.float32)),
        "f32": Dtype("F32", "float32", 4, lambda v: v.astype("<f4"), lambda stored: stored),
    }
)
NARROW = ("bf16", "f16")


def stored(values: Floats, dtype: Dtype, arithmetic: ElementWise | None) -> NDArray[Any]:
    """Return values of a file as stored in a checkpoint, rounded to `dtype`.

    Of several float32 that give a value of the file, it is one that a narrow type holds, if there
    is one: most checkpoints were of such a type.
    """
    undone = _undone(values, arithmetic)
    if arithmetic is not None and dtype.size == 4:
        nearest = undone
        for narrow in (DTYPES[name] for name in reversed(NARROW)):
            short = narrow.widen(narrow.narrow(nearest))
            gives = _bits(_done(short, arithmetic)) == _bits(values)
            undone = np.where(gives, short, undone)
    return dtype.narrow(undone)


def holds(values: Floats, dtype: Dtype, arithmetic: ElementWise | None) -> bool:
    """Whether a conversion of the `stored` values gives `values` again, bit for bit."""
    again = _done(dtype.widen(stored(values, dtype, arithmetic)), arithmetic)
    return np.array_equal(_bits(again), _bits(values))


def _bits(values: Floats) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


@np.errstate(all="ignore")
def _done(values: Floats, arithmetic: ElementWise | None) -> Floats:
    return values if arithmetic is None else arithmetic.compute(values)


@np.errstate(all="ignore")
def _undone(values: Floats, arithmetic: ElementWise | None) -> Floats:
    return values if arithmetic is None else arithmetic.undo(values)
