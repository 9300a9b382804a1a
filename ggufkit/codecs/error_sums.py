"""How far decoded weights are from the source: sums that measures of the error follow from.

These are errors of weights. They are not a measure of a model's quality: a small error in one
tensor may matter more than a large one in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from ggufkit.kernels.measure import block_error_sums, error_sums

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.arrays import Floats
    from ggufkit.types import TensorType


@dataclass(frozen=True, slots=True)
class ErrorSums:
    """Sums over weights that errors are computed from; sums of parts add up to the whole's.

    Attributes
    ----------
    n : int
        Weights.
    error2, source2, decoded2 : float
        Sums of squares of the error, the source's weights and the decoded ones.
    max_abs_error : float
        Largest absolute error.
    """

    n: int = 0
    error2: float = 0.0
    source2: float = 0.0
    decoded2: float = 0.0
    max_abs_error: float = 0.0

    @classmethod
    def of(cls, source: Floats, decoded: Floats) -> ErrorSums:
        """Measure `decoded` against `source`."""
        return cls(source.size, *error_sums(source, decoded))

    @classmethod
    def of_blocks(
        cls, source: Floats, data: NDArray[np.uint8], type_: TensorType
    ) -> ErrorSums | None:
        """Measure blocks against `source`; None if they must be decoded first."""
        sums = block_error_sums(source, data, type_)
        return None if sums is None else cls(source.size, *sums)

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(
            self.n + other.n,
            self.error2 + other.error2,
            self.source2 + other.source2,
            self.decoded2 + other.decoded2,
            max(self.max_abs_error, other.max_abs_error),
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
        return {"rmse": self.rmse, "max_error": self.max_abs_error, "cosine": self.cosine}
