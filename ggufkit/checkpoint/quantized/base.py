"""The base class of weights that are stored quantized, see `ggufkit.checkpoint.quantized`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ggufkit.types import TensorType


class QuantizedWeight(ABC):
    """A matrix stored in parts. Rows count over all leading dimensions. Small and picklable."""

    @property
    def lossless_type(self) -> TensorType | None:
        """The tensor type that can hold the weights without rounding, if there is one.

        It follows from shapes and the config alone. For some rows `blocks` may still return None,
        since scales have to fit float16, too.
        """
        return None

    @property
    def keeps_blocks(self) -> bool:
        """Whether llama.cpp's converter writes the weights in that type in every output file."""
        return False

    @abstractmethod
    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows as float32, (n_rows, n_cols)."""

    def blocks(self, start: int, stop: int) -> NDArray[np.uint8] | None:  # noqa: ARG002
        """Return rows as blocks of `lossless_type`, or None if they would have to be rounded."""
        return None
