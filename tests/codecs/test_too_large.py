"""A weight that a type can't hold is named by its own place, not by that of its block."""

from __future__ import annotations

import numpy as np
import pytest

from ggufkit.codecs import CODECS, quantize
from ggufkit.errors import NotFiniteError
from ggufkit.types import TensorType

TYPES = [t for t in CODECS if CODECS[t].encode is not None and t.is_quantized]
PLACES = [(0, 0), (2, 300), (3, 511)]


def place_of_error(values: np.ndarray, type_: TensorType) -> tuple[int, ...] | None:
    try:
        quantize(values, type_, importance=np.ones(512, np.float32))
    except NotFiniteError as error:
        return error.index
    return None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("size", [1e5, -3e8, 1e12, np.inf, np.nan])
@pytest.mark.parametrize("type_", TYPES, ids=lambda t: t.name)
def test_the_place_is_that_of_the_weight(type_: TensorType, size: float, place: tuple) -> None:
    values = np.random.default_rng(0).standard_normal((4, 512)).astype(np.float32)
    values[place] = size
    if place_of_error(values, type_) is None:
        assert abs(size) < 1e6 or type_ in (TensorType.MXFP4, TensorType.NVFP4)
    else:
        assert place_of_error(values, type_) == place


def test_ternary_types_take_no_more_than_float16_does() -> None:
    values = np.zeros((8, 256), np.float32)
    values[5, 77] = 65520.0
    for type_ in (TensorType.TQ1_0, TensorType.TQ2_0):
        with pytest.raises(NotFiniteError) as caught:
            quantize(values, type_)
        assert caught.value.index == (5, 77)
