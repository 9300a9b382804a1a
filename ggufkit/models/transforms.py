"""What converters do to weights between a checkpoint and a GGUF file.

A transform says the shape it makes and computes any range of rows of it, so that tensors stream.
Rows are slices of the first axis; a vector is computed whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ggufkit.errors import ShapeMismatchError
from ggufkit.models.rope import full

Shape = tuple[int, ...]
Floats = NDArray[np.float32]
# Reads rows of the transform's source tensor as float32.
ReadRows = Callable[[slice], Floats]


class Transform(Protocol):
    """From a checkpoint's tensor to a GGUF file's."""

    def shape(self, source: Shape) -> Shape:
        """Return the shape made from a tensor of shape `source`."""

    def apply(self, read: ReadRows, rows: slice) -> Floats:
        """Compute `rows` of the result, reading only what they need."""


@dataclass(frozen=True)
class Identity:
    """The tensor as it is."""

    def shape(self, source: Shape) -> Shape:
        """Return `source`."""
        return source

    def apply(self, read: ReadRows, rows: slice) -> Floats:
        """Return the rows."""
        return read(rows)


IDENTITY = Identity()


@dataclass(frozen=True)
class AddOne(Identity):
    """Norms that the checkpoint stores as their difference from one."""

    def apply(self, read: ReadRows, rows: slice) -> Floats:
        """Return the rows plus one."""
        return read(rows) + np.float32(1)


@dataclass(frozen=True)
class PermuteRope(Identity):
    """Rows of a head from halves (x0, x1, ..., y0, y1, ...) to pairs (x0, y0, x1, y1, ...).

    transformers rotates the two halves of a head, llama.cpp's llama rotates neighbours.

    Attributes
    ----------
    head_dim : int
        Rows per head.
    """

    head_dim: int

    def shape(self, source: Shape) -> Shape:
        """Return `source`, whose rows must be whole heads.

        Raises
        ------
        ShapeMismatchError
            They are not.
        """
        if not source or source[0] % self.head_dim or self.head_dim % 2:
            raise ShapeMismatchError(f"{source} is not made of heads of {self.head_dim} rows")
        return source

    def apply(self, read: ReadRows, rows: slice) -> Floats:
        """Return the rows, reading the whole heads that they belong to."""
        start = rows.start // self.head_dim * self.head_dim
        stop = -(-rows.stop // self.head_dim) * self.head_dim
        halves = read(slice(start, stop))
        pairs = halves.reshape(-1, 2, self.head_dim // 2, *halves.shape[1:]).swapaxes(1, 2)
        return pairs.reshape(halves.shape)[rows.start - start : rows.stop - start]


@dataclass(frozen=True)
class KeepRows:
    """The first rows: embeddings beyond the vocabulary are dropped."""

    n_rows: int

    def shape(self, source: Shape) -> Shape:
        """Return `source` with at most `n_rows` rows."""
        return (min(source[0], self.n_rows), *source[1:])

    def apply(self, read: ReadRows, rows: slice) -> Floats:
        """Return the rows."""
        return read(rows)


@dataclass(frozen=True)
class Generated:
    """A tensor that is computed from the config; None where the model has none."""

    name: str
    compute: Callable[[Mapping[str, Any]], Floats | None]


def llama3_rope_factors(config: Mapping[str, Any]) -> Floats | None:
    """Compute the frequency factors of llama 3's rope scaling, (head_dim / 2,).

    Wavelengths beyond the original context are stretched by `factor`, short ones are kept, and
    those between are interpolated. All steps are float32, as in the reference converter.
    """
    params = full(config)
    if str(params.get("rope_type", "")).lower() != "llama3":
        return None
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    factor = np.float32(params.get("factor", 8.0))
    low, high = (float(params.get(f"{end}_freq_factor", d)) for end, d in (("low", 1), ("high", 4)))
    context = float(params.get("original_max_position_embeddings", 8192))

    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    base = float(params.get("rope_theta", 10000.0))
    # correctly rounded float32 powers, independent of the platform's powf
    freqs = np.float32(1) / np.power(base, exponents.astype(np.float64)).astype(np.float32)
    wavelengths = np.float32(2 * math.pi) / freqs
    smooth = (np.float32(context) / wavelengths - np.float32(low)) / np.float32(high - low)
    between = np.float32(1) / ((np.float32(1) - smooth) / factor + smooth)
    factors = np.where(wavelengths > context / low, factor, between)
    return np.where(wavelengths < context / high, np.float32(1), factors).astype(np.float32)
