"""Errors of weights: of a tensor, a block, a role, a rung."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.codecs.error_sums import ErrorSums
from ggufkit.gguf.layout import TensorInfo

_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+)", re.ASCII)
_PLAIN = ErrorSums()


@dataclass(frozen=True, slots=True)
class Measure:
    """Sums that errors are computed from; the sums of parts add up to those of the whole.

    Attributes
    ----------
    sums : ErrorSums
        Every weight counts the same.
    weighted_error2, weighted_source2 : float
        Sums of squares of the error and of the source's weights, times the importance.
    """

    sums: ErrorSums = _PLAIN
    weighted_error2: float = 0.0
    weighted_source2: float = 0.0

    @classmethod
    def of(cls, source: Floats, decoded: Floats, importance: Floats | None) -> Measure:
        """Measure `decoded` against `source`, all of shape (n_rows, n_cols)."""
        sums = ErrorSums.of(source, decoded)
        if importance is None:
            return cls(sums)
        wide = importance.astype(np.float64)
        error = decoded.astype(np.float64) - source
        return cls(
            sums,
            float((wide * np.square(error)).sum()),
            float((wide * np.square(source, dtype=np.float64)).sum()),
        )

    def __add__(self, other: Measure) -> Measure:
        return Measure(
            self.sums + other.sums,
            self.weighted_error2 + other.weighted_error2,
            self.weighted_source2 + other.weighted_source2,
        )

    @property
    def relative(self) -> float:
        """Norm of the error as a share of the source's norm."""
        return _share(self.sums.error2, self.sums.source2)

    @property
    def weighted(self) -> float:
        """The same, each square weighted by its importance."""
        return _share(self.weighted_error2, self.weighted_source2)

    @property
    def is_finite(self) -> bool:
        """Whether no weight was NaN or infinite."""
        return math.isfinite(self.sums.error2 + self.sums.source2 + self.sums.decoded2)

    @property
    def has_error(self) -> bool:
        """Whether there is an error that a logarithmic scale can show."""
        return self.is_finite and 0 < self.relative < math.inf

    def as_dict(self, *, weighted: bool) -> dict[str, float] | None:
        """Return the measures by name, or None if they are not finite."""
        if not self.is_finite:
            return None
        found = self.sums.as_dict() | {"relative": self.relative}
        return found | ({"weighted": self.weighted} if weighted else {})


def _share(part: float, whole: float) -> float:
    if whole == 0.0:
        return 0.0 if part == 0.0 else math.inf
    return math.sqrt(part / whole)


@dataclass(frozen=True)
class RungErrors:
    """The errors of one file.

    Attributes
    ----------
    name : str
        Its file type.
    file : str
        Its name.
    n_bytes : int
        Its size.
    tensors : mapping of str to TensorInfo
        Those that were measured.
    measures : mapping of str to Measure
        By tensor.
    missing, extra : tuple of str
        Tensors of the source that it lacks or has in another shape, and tensors only it has.
    """

    name: str
    file: str
    n_bytes: int
    tensors: Mapping[str, TensorInfo]
    measures: Mapping[str, Measure]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @cached_property
    def total(self) -> Measure:
        """Over all tensors."""
        return sum(self.measures.values(), Measure())

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per weight."""
        n_weights = sum(info.n_weights for info in self.tensors.values())
        return sum(info.nbytes for info in self.tensors.values()) * 8 / max(n_weights, 1)

    @property
    def is_quantized(self) -> bool:
        """Whether any tensor is."""
        return any(info.type.is_quantized for info in self.tensors.values())

    def grouped(self, key: Callable[[str], Any]) -> dict[Any, Measure]:
        """Return sums over the tensors with the same key; None leaves a tensor out."""
        found: dict[Any, Measure] = {}
        for name, measure in self.measures.items():
            group = key(name)
            if group is not None:
                found[group] = found.get(group, Measure()) + measure
        return found

    def bytes_by_type(self) -> dict[str, int]:
        """Return bytes of data by tensor type, the largest first."""
        found: dict[str, int] = {}
        for info in self.tensors.values():
            found[info.type.name] = found.get(info.type.name, 0) + info.nbytes
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))


@dataclass(frozen=True)
class Comparison:
    """Rungs against their source.

    Attributes
    ----------
    source : str
        Its name.
    shapes : mapping of str to tuple of int
        Its tensors.
    rungs : tuple of RungErrors
        By size.
    weighted : bool
        Whether an importance matrix was given.
    """

    source: str
    shapes: Mapping[str, tuple[int, ...]]
    rungs: tuple[RungErrors, ...]
    weighted: bool = False
    note: str = field(default="errors of weights; they do not rate a model", init=False)

    @property
    def plotted(self) -> tuple[RungErrors, ...]:
        """The rungs in plots of errors: float types would squeeze the others into a corner."""
        with_error = [rung for rung in self.rungs if rung.total.has_error]
        quantized = [r for r in with_error if r.is_quantized]
        return tuple(quantized if len(quantized) > 1 else with_error)

    @property
    def complete(self) -> bool:
        """Whether every file has exactly the source's tensors."""
        return not any(rung.missing or rung.extra for rung in self.rungs)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "source": self.source,
            "note": self.note,
            "rungs": [self._rung_dict(rung) for rung in self.rungs],
        }

    def _rung_dict(self, rung: RungErrors) -> dict[str, Any]:
        return {
            "name": rung.name,
            "file": rung.file,
            "bytes": rung.n_bytes,
            "bits_per_weight": rung.bits_per_weight,
            "errors": rung.total.as_dict(weighted=self.weighted),
            "missing": list(rung.missing),
            "extra": list(rung.extra),
            "tensors": [
                {
                    "name": name,
                    "type": info.type.name,
                    "shape": list(info.shape),
                    "bytes": info.nbytes,
                    "errors": rung.measures.get(name, Measure()).as_dict(weighted=self.weighted),
                }
                for name, info in rung.tensors.items()
            ],
        }


def block_of(name: str) -> int | None:
    """Return the number of the block that a tensor is in."""
    match = _BLOCK.match(name)
    return int(match[1]) if match else None


def part_of(name: str) -> str:
    """Return a tensor's role, without its block.

    Examples
    --------
    >>> part_of("blk.7.ffn_down.weight"), part_of("token_embd.weight")
    ('ffn_down', 'token_embd')
    """
    match = _BLOCK.match(name)
    return (match[2] if match else name).removesuffix(".weight")
