"""Every transform: against a computation on whole arrays, backwards, and on the factors of a LoRA.

`CASES` has each class of transform; a new one that lacks a case, an inverse or an action on LoRA
factors (or the reason why there is none) fails here.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import prod

import numpy as np
import pytest

from ggufkit import architectures
from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.mapping.row_transforms import (
    Chunk,
    Deinterleave,
    Frame,
    PairsToHalves,
    PermuteRope,
    ReorderHeads,
    RowGather,
    ScatterColumns,
    ScatterRows,
    SkipRows,
    SliceHeads,
    TileColumns,
    TruncateRows,
    UnfuseGroups,
)
from ggufkit.mapping.transforms import (
    IDENTITY,
    AddOne,
    Change,
    Compose,
    ElementWise,
    Factors,
    NegativeExp,
    Oriented,
    PadRows,
    Reshape,
    Scale,
    ScaleParts,
    Squeeze,
    StackExperts,
    Transform,
    Transpose,
    Unstack,
    View,
    compose,
    n_rows,
)


@dataclass
class Arrays:
    """Arrays as the sources of a transform; notes which rows are read."""

    arrays: list[np.ndarray]

    def __post_init__(self) -> None:
        self.n_read = 0

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(a.shape for a in self.arrays)

    def read(self, rows: slice, source: int = 0) -> np.ndarray:
        array = self.arrays[source]
        tall = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array
        assert 0 <= rows.start <= rows.stop <= len(tall)
        self.n_read += rows.stop - rows.start
        return tall[rows]


def numbers(*shape: int) -> np.ndarray:
    return np.arange(prod(shape), dtype=np.float32).reshape(shape)


def heads_to_pairs(x: np.ndarray, head_dim: int) -> np.ndarray:
    halves = x.reshape(-1, 2, head_dim // 2, *x.shape[1:])
    return np.concatenate([np.stack(list(head), axis=1) for head in halves]).reshape(x.shape)


def regrouped(x: np.ndarray, n_heads: int, n_kv: int) -> np.ndarray:
    """UnfuseGroups by cutting the array up head by head."""
    heads = np.split(x, n_heads + 2 * n_kv)
    size = n_heads // n_kv + 2
    groups = [heads[i * size : (i + 1) * size] for i in range(n_kv)]
    queries = [head for group in groups for head in group[:-2]]
    return np.concatenate([*queries, *(g[-2] for g in groups), *(g[-1] for g in groups)])


def tiled(x: np.ndarray, n_groups: int, per_group: int) -> np.ndarray:
    heads = np.split(x, n_groups * per_group)
    order = [heads[group * per_group + i] for i in range(per_group) for group in range(n_groups)]
    return np.concatenate(order)


DECAYS = np.linspace(-3, 3, 24, dtype=np.float32)
MATRIX = numbers(24, 5)
STACK = numbers(3, 8, 5)
SQUARES = numbers(2, 3, 3)
VECTOR = numbers(24)
EXPERTS = [numbers(8, 5) + 100 * e for e in range(4)]
BIASES = [numbers(8) + 100 * e for e in range(4)]
FILTERS = numbers(2, 3, 2, 4, 5)

CASES = {
    "identity": (IDENTITY, [MATRIX], MATRIX),
    "padded": (PadRows(30), [MATRIX], np.pad(MATRIX, ((0, 6), (0, 0)))),
    "padded already": (PadRows(20), [MATRIX], MATRIX),
    "identity of a stack": (IDENTITY, [STACK], STACK),
    "add one": (AddOne(), [VECTOR], VECTOR + 1),
    "reshape": (Reshape((4, -1, 5)), [MATRIX], MATRIX.reshape(4, 6, 5)),
    "a vector of a matrix": (View((120,)), [MATRIX], MATRIX.ravel()),
    "a matrix of a stack": (View((24, 5)), [STACK], STACK.reshape(24, 5)),
    "squeeze": (Squeeze(), [numbers(6, 1, 4)], numbers(6, 4)),
    "scale": (Scale((0.1, 3.0)), [MATRIX], MATRIX * np.float32(0.1) * np.float32(3)),
    "scale of parts": (
        ScaleParts(((10, 0.1), (14, 3.0))),
        [MATRIX],
        np.concatenate([MATRIX[:10] * np.float32(0.1), MATRIX[10:] * np.float32(3)]),
    ),
    "scale of a vector's parts": (
        ScaleParts(((VECTOR.size - 1, 1.0), (1, 2.0))),
        [VECTOR],
        np.append(VECTOR[:-1], VECTOR[-1] * 2),
    ),
    "transpose": (Transpose(), [MATRIX], MATRIX.T),
    "transpose of a vector": (Transpose(), [VECTOR], VECTOR),
    "transpose of a stack": (Transpose(), [STACK], STACK.transpose(0, 2, 1)),
    "upright already": (Oriented(*STACK.shape[1:]), [STACK], STACK),
    "upright": (Oriented(*STACK.shape[:0:-1]), [STACK], STACK.transpose(0, 2, 1)),
    "upright, either way": (Oriented(3, 3), [SQUARES], SQUARES.transpose(0, 2, 1)),
    "stack": (StackExperts(), EXPERTS, np.stack(EXPERTS)),
    "stack of vectors": (StackExperts(), BIASES, np.stack(BIASES)),
    "one of a stack": (Unstack(1), [STACK], STACK[1]),
    "a row": (Unstack(3), [MATRIX], MATRIX[3]),
    "permute": (PermuteRope(8), [MATRIX], heads_to_pairs(MATRIX, 8)),
    "permute a bias": (PermuteRope(12), [VECTOR], heads_to_pairs(VECTOR, 12)),
    "pairs": (PairsToHalves(8, 8), [heads_to_pairs(MATRIX, 8)], MATRIX),
    "some pairs": (
        PairsToHalves(12, 4),
        [MATRIX],
        MATRIX[[h * 12 + i for h in range(2) for i in (0, 2, 1, 3, *range(4, 12))]],
    ),
    "pairs of a bias": (PairsToHalves(12, 12), [heads_to_pairs(VECTOR, 12)], VECTOR),
    "keep": (TruncateRows(7), [MATRIX], MATRIX[:7]),
    "keep all": (TruncateRows(99), [MATRIX], MATRIX),
    "drop": (SkipRows(2), [MATRIX], MATRIX[2:]),
    "first half": (Chunk(0), [MATRIX], MATRIX[:12]),
    "last third of a vector": (Chunk(2, of=3), [VECTOR], VECTOR[16:]),
    "second halves of a stack": (Chunk(1), [STACK], STACK[:, 4:]),
    "heads' rows": (SliceHeads(6, 1, 4), [MATRIX], MATRIX.reshape(4, 6, 5)[:, 1:4].reshape(12, 5)),
    "stacked heads": (SliceHeads(6, 4, 6, stack=True), [MATRIX], MATRIX.reshape(4, 6, 5)[:, 4:]),
    "a bias's heads": (SliceHeads(6, 0, 4), [VECTOR], VECTOR.reshape(4, 6)[:, :4].ravel()),
    "regroup one": (UnfuseGroups((18, 3, 3), (0, 1, 2)), [MATRIX], regrouped(MATRIX, 6, 1)),
    "regroup two": (UnfuseGroups((6, 3, 3), (0, 1, 2)), [MATRIX], regrouped(MATRIX, 4, 2)),
    "regroup pairs": (UnfuseGroups((2, 2, 2), (0, 1, 2)), [VECTOR], regrouped(VECTOR, 4, 4)),
    "one of the parts": (
        UnfuseGroups((2, 3, 1), (1,)),
        [MATRIX],
        np.concatenate([MATRIX[i + 2 : i + 5] for i in range(0, 24, 6)]),
    ),
    "every other row": (Deinterleave(1), [MATRIX], MATRIX[1::2]),
    "every other row of a stack": (Deinterleave(0), [STACK], STACK[:, ::2]),
    "every other column": (
        Compose(Compose(Transpose(), Deinterleave(1)), Transpose()),
        [numbers(3, 8)],
        numbers(3, 8)[:, 1::2],
    ),
    "frame": (Frame(1), [FILTERS], FILTERS[:, :, 1]),
    "decay": (NegativeExp(), [DECAYS], -np.exp(DECAYS.astype("f8")).astype("f4")),
    "a column per head": (Reshape((-1, 1)), [VECTOR], VECTOR[:, None]),
    "a row per group": (Reshape((4, -1)), [VECTOR], VECTOR.reshape(4, 6)),
    "tiles": (ReorderHeads(2, 3, 4), [MATRIX], tiled(MATRIX, 2, 3)),
    "tiles after a start": (
        ReorderHeads(2, 3, 2, start=12),
        [MATRIX],
        np.concatenate([MATRIX[:12], tiled(MATRIX[12:], 2, 3)]),
    ),
    "tiles of columns": (TileColumns(ReorderHeads(3, 4, 2)), [MATRIX.T], tiled(MATRIX, 3, 4).T),
    "columns by groups": (ScatterColumns(ReorderHeads(3, 4, 2)), [tiled(MATRIX, 3, 4).T], MATRIX.T),
    "rows by parts": (
        ScatterRows((Chunk(1), Chunk(0)), (24, 5), (IDENTITY, Transpose())),
        [MATRIX[12:], MATRIX[:12].T],
        MATRIX,
    ),
    "rows that no part has": (
        ScatterRows((SkipRows(4),), (10, 3)),
        [numbers(6, 3)],
        np.pad(numbers(6, 3), ((4, 0), (0, 0))),
    ),
    "rows of stacks by parts": (
        ScatterRows((Deinterleave(1), Deinterleave(0)), (3, 8, 5)),
        [STACK[:, 1::2], STACK[:, ::2]],
        STACK,
    ),
    "keys of latent attention": (
        Compose(SliceHeads(6, 0, 4, stack=True), Transpose()),
        [MATRIX],
        MATRIX.reshape(4, 6, 5)[:, :4].transpose(0, 2, 1),
    ),
    "experts transposed": (
        Compose(StackExperts(), Transpose()),
        EXPERTS,
        np.stack(EXPERTS).transpose(0, 2, 1),
    ),
    "halves of experts": (Compose(StackExperts(), Chunk(1)), EXPERTS, np.stack(EXPERTS)[:, 4:]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_is_as_computed_with_numpy(name: str) -> None:
    transform, arrays, expected = CASES[name]
    sources = Arrays(arrays)
    assert transform.shape(*sources.shapes) == expected.shape
    got = transform.apply(sources, slice(0, n_rows(expected.shape)))
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("name", CASES)
def test_any_rows_are_those_of_the_whole(name: str) -> None:
    transform, arrays, expected = CASES[name]
    assert_rows(transform, arrays, expected)


def assert_rows(transform: Transform, arrays: list[np.ndarray], expected: np.ndarray) -> None:
    """Check every range of rows."""
    height = n_rows(expected.shape)
    tall = expected.reshape(height, -1)
    for start, stop in combinations(range(height + 1), 2):
        got = transform.apply(Arrays(arrays), slice(start, stop))
        np.testing.assert_array_equal(got.reshape(stop - start, -1), tall[start:stop])


# The result does not tell the source: its rows that were dropped, or whether rows were added, or
# its layout, which is taken for the published one. A source that gives the same is made.
LOSSY = [
    name
    for name, (transform, _, _) in CASES.items()
    if isinstance(transform, PadRows | TruncateRows | SkipRows) or name == "upright already"
]


@pytest.mark.parametrize("name", CASES)
def test_the_inverse_gives_the_sources_or_a_reason(name: str) -> None:
    transform, arrays, expected = CASES[name]
    for number, array in enumerate(arrays):
        reason = why_no_inverse(transform, array)
        if reason:
            with pytest.raises(ConversionError, match=re.escape(reason)):
                transform.invert(expected.shape, number)
            continue
        back = transform.invert(expected.shape, number)
        if name in LOSSY:
            shape = back.shape(expected.shape)
            again = back.apply(Arrays([expected]), slice(0, n_rows(shape))).reshape(shape)
            assert_rows(transform, [again], expected)
        else:
            assert back.shape(expected.shape) == array.shape
            assert_rows(back, [expected], array)


def why_no_inverse(transform: Transform, source: np.ndarray) -> str:
    """Return why one result does not lead back to its source, '' if it does."""
    stated = [step.no_inverse for step in transform.steps if step.no_inverse]
    if stated:
        return stated[-1]
    shared = [step for step in transform.steps if isinstance(step, RowGather) and step.shares_rows]
    complete = [isinstance(step, UnfuseGroups) and len(step.take) == 3 for step in shared]
    return "" if all(complete) else "does not have all parts"


@pytest.mark.parametrize("name", [name for name in CASES if isinstance(CASES[name][0], RowGather)])
def test_rows_go_where_they_come_from(name: str) -> None:
    transform, (source,), expected = CASES[name]
    rows = np.arange(n_rows(expected.shape))
    everything = np.arange(n_rows(source.shape))
    index = transform.index(source.shape, rows)
    inverse = transform.inverse_index(source.shape, everything)
    np.testing.assert_array_equal(inverse[index], rows)
    assert (np.delete(inverse, index) == -1).all()
    if not isinstance(transform, TruncateRows):
        assert transform.inverse_shape(expected.shape) == source.shape


@pytest.mark.parametrize("step", [AddOne(), NegativeExp()])
def test_arithmetic_is_undone(step: ElementWise) -> None:
    source = DECAYS.astype("f2").astype("f4")
    made = step.compute(source)
    np.testing.assert_allclose(step.undo(made), source, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(step.undo(made).astype("f2"), source)
    np.testing.assert_array_equal(made, step.apply(Arrays([source]), slice(0, len(source))))


def factors_of(source: np.ndarray) -> Factors:
    """Return factors whose product has the shape of a weight; matrices of a stack have their own.

    The filters of a convolution have columns in common.
    """
    random = np.random.default_rng(source.size)
    stack = source.shape[:-2] if source.ndim == 3 else ()
    shapes = (*source.shape[:-1], 2), (*stack, 2, source.shape[-1])
    rows, cols = (random.integers(-9, 9, shape).astype(np.float32) for shape in shapes)
    return rows, cols


@pytest.mark.parametrize("name", CASES)
def test_the_product_of_lora_factors_is_transformed_or_there_is_a_reason(name: str) -> None:
    transform, arrays, expected = CASES[name]
    stated = [step.no_lora for step in transform.steps if step.no_lora]
    if arrays[0].ndim < 2 and not stated:
        return  # a vector is no product; PEFT does not adapt it
    parts = [factors_of(array) for array in arrays if array.ndim > 1]
    if stated:
        with pytest.raises(ConversionError, match=re.escape(stated[0])):
            transform.on_lora(parts)
        return
    rows, cols = transform.on_lora(parts)
    products = [r @ c for r, c in parts]
    whole = transform.apply(Arrays(products), slice(0, n_rows(expected.shape)))
    np.testing.assert_allclose(rows @ cols, whole.reshape(expected.shape), rtol=1e-6, atol=1e-6)


def kinds(of: type[Transform] = Transform) -> Iterator[type[Transform]]:
    """Yield all transforms of the package that are not abstract."""
    for kind in of.__subclasses__():
        if kind.__module__.startswith("ggufkit.") and not inspect.isabstract(kind):
            yield kind
        yield from kinds(kind)


def test_every_transform_has_a_case_an_inverse_and_an_action_on_loras_or_reasons() -> None:
    for module in pkgutil.walk_packages(architectures.__path__, f"{architectures.__name__}."):
        importlib.import_module(module.name)
    found = set(kinds())
    assert len(found) > 20
    assert found == {type(transform) for transform, _, _ in CASES.values()}
    for kind in found:
        assert (kind.invert is Transform.invert) == bool(kind.no_inverse), kind
        assert (kind.on_lora is Transform.on_lora) == bool(kind.no_lora), kind
        if not kind.no_lora:
            own = [case for case in CASES.values() if type(case[0]) is kind]
            assert any(a[0].ndim > 1 and expected.ndim > 1 for _, a, expected in own), kind


def test_chains_leave_out_what_changes_nothing_and_change_as_much_as_their_steps() -> None:
    assert compose() == compose(IDENTITY, IDENTITY) == IDENTITY
    assert compose(IDENTITY, Transpose()) == Transpose()
    chain = compose(StackExperts(), IDENTITY, Chunk(0), Transpose())
    assert chain.steps == (StackExperts(), Chunk(0), Transpose())
    assert [changes(*chain.steps[:n]) for n in range(4)] == [
        *(Change.NOTHING, Change.NOTHING, Change.ROWS, Change.ANYTHING)
    ]

    assert changes(Transpose(), Chunk(0)) == Change.ANYTHING


def changes(*steps: Transform) -> Change:
    return compose(*steps).change


@pytest.mark.parametrize("name", CASES)
def test_transforms_travel_to_other_processes(name: str) -> None:
    transform = CASES[name][0]
    assert pickle.loads(pickle.dumps(transform)) == transform


@pytest.mark.parametrize(
    ("transform", "arrays"),
    [
        (StackExperts(), [numbers(512, 2)] * 3),
        (PermuteRope(512), [numbers(1536, 2)]),
        (Chunk(1), [numbers(3, 1024, 2)]),
        (UnfuseGroups((384, 192, 192), (0, 1, 2)), [numbers(1536, 2)]),
        (ReorderHeads(2, 3, 256), [numbers(1536, 2)]),
    ],
)
def test_chunks_together_read_little_more_than_the_result(transform, arrays) -> None:
    sources = Arrays(arrays)
    height = n_rows(transform.shape(*sources.shapes))
    for start, stop in pairwise(np.linspace(0, height, 9, dtype=int)):
        transform.apply(sources, slice(int(start), int(stop)))
    assert height <= sources.n_read <= 1.2 * height


@pytest.mark.parametrize(
    ("transform", "shapes"),
    [
        (Reshape((7, -1, 5)), [(24, 5)]),
        (Reshape((24, 5, 1)), [(24, 5)]),
        (Reshape((120,)), [(24, 5)]),
        (Reshape((23, -1)), [(120,)]),
        (Unstack(3), [(3, 8, 5)]),
        (Unstack(0), [(8,)]),
        (Frame(0), [(2, 3, 1, 4, 5)]),
        (ScaleParts(((10, 1.0), (13, 1.0))), [(24, 5)]),
        (Squeeze(), [(6, 2, 4)]),
        (Squeeze(), [(6,)]),
        (StackExperts(), [(8, 5), (8, 6)]),
        (PermuteRope(7), [(24, 5)]),
        (PermuteRope(7), [(21, 5)]),
        (PermuteRope(8), [()]),
        (PairsToHalves(8, 3), [(24, 5)]),
        (PairsToHalves(8, 10), [(24, 5)]),
        (PairsToHalves(7, 2), [(24, 5)]),
        (SkipRows(24), [(24, 5)]),
        (Chunk(0, of=5), [(24, 5)]),
        (Deinterleave(0), [(23, 5)]),
        (Deinterleave(0), [(24,)]),
        (ReorderHeads(2, 3, 5), [(24, 5)]),
        (TileColumns(ReorderHeads(2, 3, 5)), [(30, 24)]),
        (SliceHeads(7, 0, 2), [(24, 5)]),
        (SliceHeads(6, 0, 2, stack=True), [(24,)]),
        (SliceHeads(3, 0, 2), [(3, 8, 5)]),
        (UnfuseGroups((5, 1, 1), (0,)), [(24, 5)]),
        (UnfuseGroups((2, 1, 1), (0,)), [(3, 8, 5)]),
    ],
)
def test_what_does_not_fit_is_refused(transform, shapes) -> None:
    with pytest.raises(ShapeMismatchError):
        transform.shape(*shapes)
