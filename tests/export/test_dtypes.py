"""Which types hold values exactly, where the way there was arithmetic too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ggufkit.export.dtypes import DTYPES, holds, stored
from ggufkit.mapping.transforms import AddOne, ElementWise, NegativeExp
from tests.mapping.test_composition_inverse import made

BITS = arrays(np.uint16, 64, elements=st.integers(0, 0xFFFF))


def floats(bits: np.ndarray, name: str) -> np.ndarray:
    """Return finite numbers of a type as float32."""
    values = DTYPES[name].widen(bits if name == "bf16" else bits.view("<f2"))
    return np.where(np.isfinite(values), values, np.float32(1)).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(bits=BITS, name=st.sampled_from(["bf16", "f16"]))
def test_every_number_of_a_type_is_held(bits: np.ndarray, name: str) -> None:
    values = floats(bits, name)
    assert holds(values, DTYPES[name], None)
    assert holds(values, DTYPES["f32"], None)


@settings(max_examples=200, deadline=None)
@given(bits=BITS, name=st.sampled_from(["bf16", "f16"]), step=st.sampled_from([0, 1]))
def test_what_arithmetic_makes_of_a_type_is_held(bits: np.ndarray, name: str, step: int) -> None:
    arithmetic: ElementWise = (AddOne(), NegativeExp())[step]
    values = floats(bits, name)
    if step:  # of larger ones infinity is made
        values = np.clip(values, -80, 80)
        values = DTYPES[name].widen(DTYPES[name].narrow(values))
    file = made(arithmetic, values)
    assert holds(file, DTYPES[name], arithmetic)
    # the same number, unless others near it give the same
    told_apart = np.abs(values) >= 2**-16 if name == "bf16" else np.abs(values) >= 2**-13
    for kind in (name, "f32"):  # a checkpoint of a wider type has the narrow number, too
        back = DTYPES[kind].widen(stored(file, DTYPES[kind], arithmetic))
        np.testing.assert_array_equal(back[told_apart], values[told_apart])
        np.testing.assert_array_equal(made(arithmetic, back), file)


@pytest.mark.parametrize("arithmetic", [None, AddOne(), NegativeExp()])
def test_what_a_type_can_not_hold_is_noticed(arithmetic: ElementWise | None) -> None:
    values = np.array([-1 / 3, -0.7], np.float32)
    assert not holds(values, DTYPES["bf16"], arithmetic)
    assert not holds(values, DTYPES["f16"], arithmetic)


def test_the_sign_of_zero_and_nan_count() -> None:
    negative = np.array([-0.0], np.float32)
    assert np.signbit(DTYPES["bf16"].widen(stored(negative, DTYPES["bf16"], None)))[0]
    payload = np.array([0x7F800001], np.uint32).view(np.float32)
    assert not holds(payload, DTYPES["bf16"], None)
    assert holds(payload, DTYPES["f32"], None)


def test_a_norm_too_small_to_be_told_is_zero() -> None:
    file = made(AddOne(), np.array([2**-26], np.float32))
    assert file[0] == 1
    assert holds(file, DTYPES["bf16"], AddOne())
    assert not stored(file, DTYPES["bf16"], AddOne()).any()
