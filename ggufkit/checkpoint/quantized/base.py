"""What stands for a weight that is stored quantized, see `ggufkit.checkpoint.quantized`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.types import TensorType


class QuantizedWeight(ABC):
    """A matrix in parts. Rows are counted over all leading dimensions. Picklable, and small."""

    @property
    def exact(self) -> TensorType | None:
        """The tensor type in which the weights can be written as they are, without rounding.

        Known from shapes and the config alone, so it is a promise that `blocks` may not keep for
        some rows: scales have to fit float16, too.
        """
        return None

    @property
    def kept(self) -> bool:
        """Whether llama.cpp's converter writes them in that type, whatever it is asked for."""
        return False

    @abstractmethod
    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows as float32, (n_rows, n_cols)."""

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8] | None:  # noqa: ARG002
        """Return rows in blocks of the type `exact`, or None where rounding would be needed."""
        return None
