"""What encoding did to the weights, by tensor and rung: `ErrorSums`, measured on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ggufkit.codecs.error_sums import ErrorSums

if TYPE_CHECKING:
    from ggufkit.converter.planning.plan import Plan, Rung


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a task did.

    Attributes
    ----------
    number : int
        The task's.
    tensor : str
        Name of the tensor that the rows belong to.
    written : int
        Bytes, in all files.
    sums : mapping of str to ErrorSums
        Errors by `Encoding.key`.
    n_nonfinite : int
        Weights that are NaN or infinite.
    """

    number: int
    tensor: str
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
    def collect(cls, results: Iterable[TaskResult]) -> Report:
        """Add up the results of all tasks, in the order of their numbers."""
        sums: dict[tuple[str, str], ErrorSums] = {}
        nonfinite: dict[str, int] = {}
        for result in sorted(results, key=lambda r: r.number):
            name = result.tensor
            for encoding, part in result.sums.items():
                sums[name, encoding] = sums.get((name, encoding), ErrorSums()) + part
            if result.n_nonfinite:
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
                    **target.as_dict(),
                    **(sums.as_dict() if (sums := self.of_tensor(rung, name)) else {}),
                }
                for name, target in rung.targets.items()
            ],
        }
