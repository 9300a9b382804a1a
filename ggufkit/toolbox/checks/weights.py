"""Rules about the weights themselves; silent where they were not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from ggufkit.errors import named
from ggufkit.gguf.scan import chunks_of
from ggufkit.rules.llama_cpp import TIES_OUTPUT
from ggufkit.rules.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.rules.shapes import EMBEDDINGS, OUTPUT
from ggufkit.toolbox.checks.subject import CheckedModel


def not_finite(subject: CheckedModel) -> Iterator[RawFinding]:
    """NaN or infinity, in weights or in the scales of blocks."""
    for name, found in subject.weights.items():
        if not found.n_broken:
            continue
        info = subject.tensors[name]
        place = ", ".join(map(str, _index(found.first_broken, info.shape)))
        what = "block scales" if info.type.is_quantized else "weights"
        yield RawFinding(
            f"{name}: {found.n_broken} {what} are NaN or infinite, the first at [{place}]: the "
            "model's output is noise; convert it again from a sound checkpoint"
        )


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index, in numpy order, of a weight counted through rows."""
    index: tuple[int, ...] = ()
    for size in reversed(shape):
        index = (flat % size, *index)
        flat //= size
    return index


def all_zero(subject: CheckedModel) -> Iterator[RawFinding]:
    """A matrix of zeros; biases may well be zero."""
    zero = [name for name, found in subject.weights.items() if found.is_zero]
    matrices = [name for name in zero if len(subject.tensors[name].shape) > 1]
    vectors = [n for n in zero if n not in matrices and not n.endswith(".bias")]
    if matrices:
        yield RawFinding(
            f"{named(matrices)}: all weights are 0; were they lost in the conversion? "
            "Check the checkpoint"
        )
    if vectors:
        yield RawFinding(f"{named(vectors)}: all weights are 0", severity=Severity.NOTE)


def largest_float16(subject: CheckedModel) -> Iterator[RawFinding]:
    """The largest float16: larger values have been clipped."""
    cut = [name for name, found in subject.weights.items() if found.n_largest]
    if cut:
        yield RawFinding(
            f"{named(cut)}: weights or scales are 65504, the largest float16: the checkpoint's may "
            "be larger; use BF16 or F32 for them"
        )


def tied_twice(subject: CheckedModel) -> Iterator[RawFinding]:
    """The output has the embeddings' bytes."""
    a, b = subject.tensors.get(EMBEDDINGS), subject.tensors.get(OUTPUT)
    if a is None or b is None or not {EMBEDDINGS, OUTPUT} <= subject.weights.keys():
        return
    if (a.shape, a.type) != (b.shape, b.type) or not _same_bytes(subject):
        return
    fix = None
    if subject.architecture in TIES_OUTPUT and len(subject.parts) == 1:
        fix = Fix(f"leave out {OUTPUT}", drop_tensors=(re.escape(OUTPUT),))
    yield RawFinding(
        f"{OUTPUT} has the bytes of {EMBEDDINGS}: {b.nbytes} bytes that programs don't need",
        fix=fix,
    )


def _same_bytes(subject: CheckedModel) -> bool:
    a, b = (subject.part_of(name) for name in (EMBEDDINGS, OUTPUT))
    return all(
        chunk.read(a) == replace(chunk, name=OUTPUT).read(b)
        for chunk in chunks_of([subject.tensors[EMBEDDINGS]])
    )


RULES = (
    CheckRule("not-finite", Severity.ERROR, "weights or scales are NaN or infinite", not_finite),
    CheckRule("all-zero", Severity.WARNING, "a tensor of zeros", all_zero),
    CheckRule(
        "float16-limit",
        Severity.WARNING,
        "weights or scales are the largest float16",
        largest_float16,
    ),
    CheckRule(
        "tied-twice", Severity.WARNING, "tied embeddings stored twice", tied_twice, fixable=True
    ),
)
