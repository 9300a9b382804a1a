"""What encoding did to the weights, measured on the way: both arrays are in memory.

These are errors of weights. They are not a measure of a model's quality: a small error in one
tensor may matter more than a large one in another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ggufkit.kernels.measure import block_error_sums, error_sums

if TYPE_CHECKING:
    from ggufkit.converter.planning.plan import Plan, Rung
    from ggufkit.types import TensorType

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Sums over weights that errors are computed from; sums of parts add up to the whole's.

    Attributes
    ----------
    n : int
        Weights.
    error2, source2, decoded2 : float
        Sums of squares of the error, the source's weights and the decoded ones.
    largest : float
        Largest absolute error.
    """

    n: int = 0
    error2: float = 0.0
    source2: float = 0.0
    decoded2: float = 0.0
    largest: float = 0.0

    @classmethod
    def of(cls, source: Floats, decoded: Floats) -> ErrorSums:
        """Measure `decoded` against `source`."""
        return cls(source.size, *error_sums(source, decoded))

    @classmethod
    def of_blocks(
        cls, source: Floats, data: NDArray[np.uint8], type_: TensorType
    ) -> ErrorSums | None:
        """Measure blocks against `source`; None where they have to be decoded first."""
        sums = block_error_sums(source, data, type_)
        return None if sums is None else cls(source.size, *sums)

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(
            self.n + other.n,
            self.error2 + other.error2,
            self.source2 + other.source2,
            self.decoded2 + other.decoded2,
            max(self.largest, other.largest),
        )

    @property
    def rmse(self) -> float:
        """Root of the mean squared error."""
        return sqrt(self.error2 / self.n) if self.n else 0.0

    @property
    def cosine(self) -> float:
        """Cosine of the angle between source and decoded weights; 1 where both are zero."""
        norms = sqrt(self.source2) * sqrt(self.decoded2)
        if norms == 0.0:
            return 1.0 if self.error2 == 0.0 else 0.0
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b
        return min(1.0, (self.source2 + self.decoded2 - self.error2) / 2 / norms)

    def as_dict(self) -> dict[str, float]:
        """Return the measures by name."""
        return {"rmse": self.rmse, "max_error": self.largest, "cosine": self.cosine}


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task did: bytes written, error sums by encoding, weights that are not finite."""

    number: int
    written: int
    sums: Mapping[str, ErrorSums] = field(default_factory=dict)
    n_nonfinite: int = 0


@dataclass
class Report:
    """Errors by tensor and encoding.

    Attributes
    ----------
    sums : dict of (tensor name, encoding) to ErrorSums
        Only what was measured.
    nonfinite : dict of str to int
        Tensors with weights that are NaN or infinite, and how many.
    """

    sums: dict[tuple[str, str], ErrorSums]
    nonfinite: dict[str, int] = field(default_factory=dict)

    @classmethod
    def collect(cls, plan: Plan, results: Iterable[TaskResult]) -> Report:
        """Add up the results of all tasks, in the order of their numbers."""
        names = [task.tensor.name for task in plan.tasks()]
        sums: dict[tuple[str, str], ErrorSums] = {}
        nonfinite: dict[str, int] = {}
        for result in sorted(results, key=lambda r: r.number):
            for encoding, part in result.sums.items():
                key = (names[result.number], encoding)
                sums[key] = sums.get(key, ErrorSums()) + part
            if result.n_nonfinite:
                name = names[result.number]
                nonfinite[name] = nonfinite.get(name, 0) + result.n_nonfinite
        return cls(sums, nonfinite)

    def of_tensor(self, rung: Rung, name: str) -> ErrorSums | None:
        """Return a tensor's errors in a rung."""
        return self.sums.get((name, rung.encoding(name).key))

    def of_rung(self, rung: Rung) -> ErrorSums | None:
        """Return the errors over all tensors of a rung."""
        parts = [self.of_tensor(rung, name) for name in rung.targets]
        known = [part for part in parts if part is not None]
        return sum(known, ErrorSums()) if known else None

    def as_dict(self, plan: Plan) -> dict[str, Any]:
        """Return everything, by rung and tensor, for JSON."""
        return {
            "note": "errors of weights against the source; not a measure of quality",
            "nonfinite": self.nonfinite,
            "rungs": [self._rung_dict(plan, rung) for rung in plan.rungs],
        }

    def _rung_dict(self, plan: Plan, rung: Rung) -> dict[str, Any]:
        shapes = {tensor.name: tensor.shape for tensor in plan.source.tensors}
        total = self.of_rung(rung)
        return {
            "name": rung.name,
            "bytes": rung.n_bytes,
            "bits_per_weight": rung.bits_per_weight,
            **({} if total is None else total.as_dict()),
            "tensors": [
                {
                    "name": name,
                    "shape": list(shapes[name]),
                    "type": target.type.name,
                    "why": target.why,
                    "bytes": target.n_bytes,
                    **(sums.as_dict() if (sums := self.of_tensor(rung, name)) else {}),
                }
                for name, target in rung.targets.items()
            ],
        }
