"""Every transform, and back again: any rows of it, for any sizes of its parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggufkit.architectures import jamba
from ggufkit.architectures.registry import architectures
from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.mapping.composition_inverse import invert
from ggufkit.mapping.row_transforms import (
    Chunk,
    Deinterleave,
    PermuteRope,
    ReorderHeads,
    SkipRows,
    SliceHeads,
    TileColumns,
    TruncateRows,
    UnfuseGroups,
)
from ggufkit.mapping.transforms import (
    IDENTITY,
    AddOne,
    Compose,
    NegativeExp,
    Oriented,
    PadRows,
    Reshape,
    Scale,
    Squeeze,
    StackExperts,
    Transform,
    Transpose,
    n_rows,
)
from tests.mapping.test_transforms import Arrays, numbers

SIZES = st.integers(1, 4)


def made(transform: Transform, *arrays: np.ndarray) -> np.ndarray:
    sources = Arrays(list(arrays))
    shape = transform.shape(*sources.shapes)
    return transform.apply(sources, slice(0, n_rows(shape))).reshape(shape)


def check_back(transforms: Sequence[Transform], source: np.ndarray) -> None:
    """Check that what the transforms make of `source` leads back to it, rows by rows."""
    files = [made(transform, source) for transform in transforms]
    check_rows(transforms, files, source)


def check_rows(
    transforms: Sequence[Transform], files: list[np.ndarray], source: np.ndarray, expert: int = 0
) -> None:
    way = invert(transforms, [file.shape for file in files], expert)
    assert way.shape == source.shape
    height = n_rows(source.shape)
    tall = source.reshape(height, -1)
    for start in range(height):
        for stop in (start + 1, min(height, start + 3), height):
            got = way.transform.apply(Arrays(files), slice(start, stop))
            np.testing.assert_array_equal(got.reshape(stop - start, -1), tall[start:stop])


@settings(max_examples=40, deadline=None)
@given(heads=SIZES, half=SIZES, cols=SIZES, vector=st.booleans())
def test_rotated_heads(heads: int, half: int, cols: int, vector: bool) -> None:
    rows = heads * 2 * half
    check_back([PermuteRope(2 * half)], numbers(rows) if vector else numbers(rows, cols))


@settings(max_examples=60, deadline=None)
@given(
    groups=SIZES,
    sizes=st.lists(SIZES, min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
    vector=st.booleans(),
)
def test_regrouped_parts_however_they_are_shared_out(groups, sizes, order, vector) -> None:
    parts = list(range(len(sizes)))
    order.shuffle(parts)
    cut = order.randint(0, len(parts))
    shares = [tuple(share) for share in (parts[:cut], parts[cut:]) if share]
    rows = groups * sum(sizes)
    source = numbers(rows) if vector else numbers(rows, 3)
    check_back([UnfuseGroups(tuple(sizes), share) for share in shares], source)


@settings(max_examples=40, deadline=None)
@given(groups=SIZES, queries=SIZES, half=SIZES)
def test_fused_projections_with_rotated_heads(groups: int, queries: int, half: int) -> None:
    head = 2 * half
    sizes = (queries * head, head, head)
    check_back(
        [
            Compose(UnfuseGroups(sizes, (0,)), PermuteRope(head)),
            Compose(UnfuseGroups(sizes, (1,)), PermuteRope(head)),
            UnfuseGroups(sizes, (2,)),
        ],
        numbers(groups * sum(sizes), 3),
    )


@settings(max_examples=40, deadline=None)
@given(matrices=SIZES, of=SIZES, height=SIZES, transposed=st.booleans())
def test_parts_of_stacks(matrices: int, of: int, height: int, transposed: bool) -> None:
    source = numbers(matrices, of * height, 3)
    parts: list[Transform] = [Chunk(i, of=of) for i in range(of)]
    if transposed:
        source = source.transpose(0, 2, 1).copy()
        parts = [Compose(Transpose(), part) for part in parts]
    check_back(parts, source)


@settings(max_examples=40, deadline=None)
@given(matrices=SIZES, pairs=SIZES)
def test_interleaved_rows_and_columns(matrices: int, pairs: int) -> None:
    check_back([Deinterleave(0), Deinterleave(1)], numbers(matrices, 2 * pairs, 3))
    columns = [Compose(Compose(Transpose(), Deinterleave(i)), Transpose()) for i in (0, 1)]
    check_back(columns, numbers(matrices, 2 * pairs))
    transposed = [Compose(Transpose(), Deinterleave(i)) for i in (0, 1)]
    check_back(transposed, numbers(matrices, 3, 2 * pairs))


@settings(max_examples=40, deadline=None)
@given(heads=SIZES, keys=SIZES, values=SIZES)
def test_heads_cut_in_two(heads: int, keys: int, values: int) -> None:
    both = keys + values
    check_back(
        [
            Compose(SliceHeads(both, 0, keys, stack=True), Transpose()),
            SliceHeads(both, keys, both, stack=True),
        ],
        numbers(heads * both, 3),
    )
    check_back([SliceHeads(both, 0, keys), SliceHeads(both, keys, both)], numbers(heads * both, 3))


@settings(max_examples=40, deadline=None)
@given(groups=SIZES, per_group=SIZES, head_dim=SIZES, start=st.integers(0, 3))
def test_tiled_heads(groups: int, per_group: int, head_dim: int, start: int) -> None:
    rows = groups * per_group * head_dim
    check_back([ReorderHeads(groups, per_group, head_dim, start)], numbers(start + rows, 3))
    check_back([TileColumns(ReorderHeads(groups, per_group, head_dim))], numbers(3, rows))
    check_back(
        [Compose(Squeeze(), ReorderHeads(groups, per_group, head_dim, start))],
        numbers(start + rows, 1, 3),
    )


@settings(max_examples=40, deadline=None)
@given(experts=SIZES, height=SIZES, vector=st.booleans())
def test_stacks_come_apart(experts: int, height: int, vector: bool) -> None:
    arrays = [numbers(height) if vector else numbers(height, 3) for _ in range(experts)]
    arrays = [array + 100 * e for e, array in enumerate(arrays)]
    file = made(StackExperts(), *arrays)
    for number, array in enumerate(arrays):
        check_rows([StackExperts()], [file], array, number)


@pytest.mark.parametrize(
    ("transform", "source"),
    [
        (IDENTITY, numbers(4, 3)),
        (Transpose(), numbers(4, 3)),
        (Transpose(), numbers(2, 4, 3)),
        (Transpose(), numbers(4)),
        (Reshape((-1, 1)), numbers(6)),
        (Reshape((3, -1)), numbers(6)),
        (Reshape((-1,)), numbers(6)),
        (Reshape((2, -1, 3)), numbers(8, 3)),
        (Compose(Reshape((2, -1, 3)), Transpose()), numbers(8, 3)),
        (Squeeze(), numbers(4, 1, 3)),
        (Oriented(3, 4), numbers(2, 4, 3)),
        (Oriented(4, 4), numbers(2, 4, 4)),
    ],
)
def test_other_shapes(transform: Transform, source: np.ndarray) -> None:
    check_back([transform], source)


def test_a_norm_of_one_group_needs_no_dimension_for_it() -> None:
    source = numbers(6)
    check_rows([Reshape((1, -1))], [made(Reshape((1, -1)), source)], source)
    check_rows([Reshape((1, -1))], [source], source)


def test_dropped_rows_come_back_as_zeros() -> None:
    source = numbers(6, 3)
    source[:2] = 0
    check_back([SkipRows(2)], source)


def test_rows_that_were_padded_or_kept_are_the_tensor() -> None:
    for transform in (PadRows(9), TruncateRows(4)):
        file = made(transform, numbers(6, 3))
        check_rows([transform], [file], file)


@pytest.mark.parametrize("step", [AddOne(), NegativeExp()])
def test_arithmetic_is_left_for_the_end(step: Transform) -> None:
    transform = Compose(step, ReorderHeads(2, 3, 1))
    way = invert([transform], [(6,)])
    assert way.arithmetic == step
    moved = made(transform, numbers(6) / 7)
    back = way.transform.apply(Arrays([moved]), slice(0, 6))
    np.testing.assert_array_equal(back, made(step, numbers(6) / 7))


@pytest.mark.parametrize(
    ("transforms", "shapes", "error"),
    [
        ([Chunk(0)], [(4, 3)], ConversionError),
        ([Chunk(0), Chunk(0)], [(4, 3)] * 2, ConversionError),
        ([Chunk(0), Chunk(1), Chunk(1)], [(4, 3)] * 3, ConversionError),
        ([Chunk(0), Chunk(1)], [(4, 3), (5, 3)], ShapeMismatchError),
        ([Chunk(0), IDENTITY], [(4, 3), (4, 3)], ShapeMismatchError),
        ([Deinterleave(0), Deinterleave(1)], [(4,), (4,)], ShapeMismatchError),
        ([PermuteRope(6)], [(8, 3)], ShapeMismatchError),
        ([ReorderHeads(2, 2, 2)], [(9, 3)], ShapeMismatchError),
        ([TileColumns(ReorderHeads(2, 2, 2))], [(3, 9)], ShapeMismatchError),
        (
            [SliceHeads(5, 0, 2, stack=True), SliceHeads(5, 2, 5)],
            [(4, 3), (6, 3)],
            ShapeMismatchError,
        ),
        (
            [UnfuseGroups((2, 1), (0,)), UnfuseGroups((2, 1), (1,))],
            [(3, 3), (2, 3)],
            ShapeMismatchError,
        ),
        ([StackExperts()], [(3,)], ShapeMismatchError),
        ([Oriented(3, 4)], [(2, 4, 3)], ShapeMismatchError),
        ([Scale((2.0,))], [(4, 3)], ConversionError),
        ([Compose(AddOne(), Chunk(0)), Chunk(1)], [(4, 3), (4, 3)], ConversionError),
        ([Compose(AddOne(), NegativeExp())], [(4,)], ConversionError),
        ([Compose(Transpose(), Chunk(0)), Chunk(1)], [(4, 3), (4, 3)], ShapeMismatchError),
        ([Reshape((3, -1))], [(4, 2)], ShapeMismatchError),
    ],
)
def test_what_can_not_come_from_one_tensor_is_refused(transforms, shapes, error) -> None:
    with pytest.raises(error):
        invert(transforms, shapes)


@settings(max_examples=100, deadline=None)
@given(period=st.integers(1, 6), first=st.integers(0, 5), n=st.integers(0, 9))
def test_periods_of_blocks_come_back(period: int, first: int, n: int) -> None:
    config = {"num_hidden_layers": n, "attn_layer_offset": first % period}
    blocks = jamba.EveryNth("attn")({**config, "attn_layer_period": period})
    offset, found = jamba.first_and_period(blocks, n)
    again = {**config, "attn_layer_offset": offset, "attn_layer_period": found}
    assert jamba.EveryNth("attn")(again) == blocks
    assert offset < found  # transformers wants it so


def test_every_architecture_has_a_way_back_of_its_own() -> None:
    classes = {}
    for architecture in architectures():
        assert architecture.export is not None, architecture.name
        # an architecture that is made of another one must not keep that one's
        assert classes.setdefault(id(architecture.export), architecture.hf_classes) == (
            architecture.hf_classes
        )
