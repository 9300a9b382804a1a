"""Metadata values: every type, both byte orders, and what must be refused."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggufkit.errors import (
    BadValueError,
    FormatError,
    LimitExceededError,
    TruncatedError,
    WrongValueTypeError,
)
from ggufkit.gguf.values import EncodedValue, decode, encode, encode_array
from ggufkit.gguf.walker import HeaderWalker
from ggufkit.types import ValueType
from tests import build

INTEGERS = {
    ValueType.UINT8: (0, 2**8 - 1),
    ValueType.INT8: (-(2**7), 2**7 - 1),
    ValueType.UINT16: (0, 2**16 - 1),
    ValueType.INT16: (-(2**15), 2**15 - 1),
    ValueType.UINT32: (0, 2**32 - 1),
    ValueType.INT32: (-(2**31), 2**31 - 1),
    ValueType.UINT64: (0, 2**64 - 1),
    ValueType.INT64: (-(2**63), 2**63 - 1),
}
SCALARS = {
    **{kind: st.integers(*limits) for kind, limits in INTEGERS.items()},
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"])),
}


def measure(data, start, value_type, order="<", *, nested=False):
    return HeaderWalker(data, order).measure(start, value_type, nested=nested)


def any_scalar():
    return st.sampled_from(list(SCALARS)).flatmap(
        lambda kind: st.tuples(st.just(kind), SCALARS[kind])
    )


def any_array():
    return st.sampled_from(list(SCALARS)).flatmap(
        lambda kind: st.tuples(st.just(kind), st.lists(SCALARS[kind], max_size=8))
    )


@given(any_scalar())
def test_scalars_are_encoded_as_struct_does(pair):
    kind, value = pair
    assert encode(value, kind) == build.value(kind, value)


@given(any_array())
def test_arrays_are_encoded_as_struct_does(pair):
    kind, items = pair
    assert encode_array(items, kind) == build.array(kind, items)


@given(any_scalar(), st.sampled_from("<>"), st.binary(max_size=9))
def test_scalars_are_decoded_in_both_orders_at_any_place(pair, order, before):
    kind, value = pair
    raw = build.value(kind, value, order)
    data = before + raw + b"tail"
    assert measure(data, len(before), kind, order) == len(before) + len(raw)
    assert decode(data, len(before), kind, order) == (value, len(before) + len(raw))


@given(any_array(), st.sampled_from("<>"))
def test_arrays_are_decoded_in_both_orders(pair, order):
    kind, items = pair
    raw = build.array(kind, items, order)
    assert measure(raw, 0, ValueType.ARRAY, order) == len(raw)
    assert decode(raw, 0, ValueType.ARRAY, order) == (items, len(raw))


@given(any_array())
def test_big_endian_entries_are_written_little_endian(pair):
    kind, items = pair
    raw = build.array(kind, items, ">")
    assert EncodedValue(ValueType.ARRAY, raw, 0, len(raw), ">").encoded() == build.array(
        kind, items
    )


@given(any_array(), st.data())
def test_an_array_cut_anywhere_is_truncated(pair, data):
    kind, items = pair
    raw = build.array(kind, items)
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(TruncatedError):
        measure(raw[:cut], 0, ValueType.ARRAY)


def test_a_nan_survives():
    value, _ = decode(build.value(build.F32, math.nan), 0, ValueType.FLOAT32, "<")
    assert math.isnan(value)


def test_any_nonzero_byte_is_true():
    assert decode(b"\x02", 0, ValueType.BOOL, "<") == (True, 1)


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_out_of_range_are_refused(kind):
    least, most = INTEGERS[kind]
    for value in (least - 1, most + 1):
        with pytest.raises(WrongValueTypeError, match=kind.name):
            encode(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.0, ValueType.UINT32),
        ("1", ValueType.UINT32),
        (True, ValueType.UINT32),
        (None, ValueType.UINT32),
        (1, ValueType.BOOL),
        ("1.0", ValueType.FLOAT32),
        (True, ValueType.FLOAT32),
        (1e39, ValueType.FLOAT32),
        (1, ValueType.STRING),
        ("\ud800", ValueType.STRING),
        ([1], ValueType.ARRAY),
    ],
)
def test_values_of_another_kind_are_refused(value, kind):
    with pytest.raises(WrongValueTypeError):
        encode(value, kind)


def test_numpy_arrays_and_scalars_are_taken():
    assert encode_array(np.arange(3), ValueType.UINT8) == build.array(build.U8, [0, 1, 2])
    assert encode(np.int64(7), ValueType.INT32) == build.value(build.I32, 7)
    assert encode(np.float32(0.5), ValueType.FLOAT32) == build.value(build.F32, 0.5)
    assert encode(np.bool_(True), ValueType.BOOL) == b"\x01"


def nested(depth):
    raw = build.array(build.U8, [1])
    for _ in range(depth - 1):
        raw = build.array(build.ARR, [raw])
    return raw


@pytest.mark.parametrize(("depth", "value"), [(1, [1]), (2, [[1]]), (4, [[[[1]]]])])
def test_nested_arrays_are_nested_lists_where_allowed(depth, value):
    raw = nested(depth)
    assert measure(raw, 0, ValueType.ARRAY, nested=True) == len(raw)
    assert decode(raw, 0, ValueType.ARRAY, "<")[0] == value


def test_nested_arrays_are_refused_by_default():
    with pytest.raises(BadValueError, match=r"array of arrays.*ggufkit check FILE"):
        measure(nested(2), 0, ValueType.ARRAY)


@pytest.mark.parametrize("depth", [5, 6, 100_000])
def test_nesting_has_an_end(depth):
    raw = struct.pack("<IQ", build.ARR, 1) * depth
    with pytest.raises(LimitExceededError, match="nested"):
        measure(raw, 0, ValueType.ARRAY, nested=True)


@pytest.mark.parametrize("item_type", list(ValueType))
@pytest.mark.parametrize("count", [2**16, 2**30, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])
def test_a_count_the_file_can_not_hold_is_refused_before_anything_is_read(item_type, count):
    with pytest.raises(FormatError):
        measure(build.array(item_type, [], count=count), 0, ValueType.ARRAY, nested=True)


@pytest.mark.parametrize("length", [4, 2**30, 2**30 + 1, 2**63, 2**64 - 1])
def test_a_string_behind_the_end_is_refused(length):
    raw = struct.pack("<Q", length) + b"abc"
    with pytest.raises(FormatError, match="string"):
        measure(raw, 0, ValueType.STRING)
    with pytest.raises(FormatError, match="string"):
        measure(struct.pack("<IQ", build.STR, 1) + raw, 0, ValueType.ARRAY)


def test_a_string_that_is_not_utf8_is_refused_or_read_as_surrogates():
    raw = build.string(b"a\xff")
    with pytest.raises(BadValueError, match="UTF-8"):
        decode(raw, 0, ValueType.STRING, "<")
    assert decode(raw, 0, ValueType.STRING, "<", "surrogateescape")[0] == "a\udcff"
