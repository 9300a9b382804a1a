"""Rules about models split over files."""

from __future__ import annotations

from collections.abc import Iterator

from ggufkit.errors import named
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT, parse_part_name, part_name
from ggufkit.rules.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.toolbox.checks.survey import LenientHeader
from ggufkit.types import ValueType

_TYPES = {NO: ValueType.UINT16, COUNT: ValueType.UINT16, TENSORS_COUNT: ValueType.INT32}


def missing_part(subject: CheckedModel) -> Iterator[RawFinding]:
    """A missing part."""
    if subject.missing:
        names = named([path.name for path in subject.missing])
        yield RawFinding(f"missing: {names}; a split model needs all parts in one folder")


def part_of_other_name(subject: CheckedModel) -> Iterator[RawFinding]:
    """The keys and the name of a part disagree."""
    part = subject.first
    if not part.complete:
        return
    name, count = parse_part_name(part.path.name), part.metadata.get(COUNT)
    number = part.metadata.get(NO)
    if isinstance(count, int) and count > 1:
        if name is None or name[2] != count:
            wanted = part_name("NAME", number if isinstance(number, int) else 0, count)
            yield RawFinding(
                f"one of {count} parts by its metadata, but it is not named like {wanted}: "
                "llama.cpp and Ollama won't find the others; rename it back",
                part.path,
            )
    elif name is not None and (name[2] > 1 or COUNT not in part.metadata):
        yield RawFinding(
            f"named as part {name[1] + 1} of {name[2]}, but its metadata does not mention a split: "
            "rename it; if a general tool cut the file, join the pieces",
            part.path,
            severity=Severity.WARNING,
        )


def split_keys(subject: CheckedModel) -> Iterator[RawFinding]:
    """Split keys that are wrong or differ."""
    parts = [part for part in subject.parts if part.complete]
    if len(subject.parts) + len(subject.missing) == 1:
        return
    for part in parts:
        yield from _wrong_types(part)
        found = parse_part_name(part.path.name)
        if found and part.metadata.get(NO) != found[1]:
            yield RawFinding(
                f"{NO} is {part.metadata.get(NO)}, but its name says {found[1]}: another part?",
                part.path,
            )
        for key in (COUNT, TENSORS_COUNT):
            if part.metadata.get(key) != subject.metadata.get(key):
                yield RawFinding(
                    f"{key} is {part.metadata.get(key)}, in the first part "
                    f"{subject.metadata.get(key)}: is it part of another model?",
                    part.path,
                )
    yield from _wrong_total(subject)


def _wrong_types(part: LenientHeader) -> Iterator[RawFinding]:
    for key, wanted in _TYPES.items():
        if key in part.metadata and part.metadata.type_of(key) is not wanted:
            value = part.metadata.get(key)
            fix = None
            if isinstance(value, int) and 0 <= value < 1 << 15:
                fix = Fix(f"make {key} {wanted.name}", values={key: (value, wanted)})
            yield RawFinding(
                f"{key} is {part.metadata.type_of(key).name}, expected {wanted.name}",
                part.path,
                fix,
            )


def _wrong_total(subject: CheckedModel) -> Iterator[RawFinding]:
    total = subject.metadata.get(TENSORS_COUNT)
    held = sum(len(part.infos) for part in subject.parts)
    if subject.readable and isinstance(total, int) and total != held:
        yield RawFinding(
            f"{TENSORS_COUNT} is {total}, but the parts hold {held} tensors: a part is not of "
            "this model"
        )


def tensor_in_two_parts(subject: CheckedModel) -> Iterator[RawFinding]:
    """A tensor is in two parts."""
    seen: dict[str, LenientHeader] = {}
    for part in subject.parts:
        for name in part.tensors:
            if name in seen:
                yield RawFinding(f"tensor {name!r} is in {seen[name].path.name} too", part.path)
                return
            seen[name] = part


RULES = (
    CheckRule("missing-part", Severity.ERROR, "a part of a split is missing", missing_part),
    CheckRule("part-name", Severity.ERROR, "a part's name and keys disagree", part_of_other_name),
    CheckRule(
        "split-keys", Severity.ERROR, "parts disagree about the split", split_keys, fixable=True
    ),
    CheckRule(
        "tensor-in-two-parts", Severity.ERROR, "a tensor is in two parts", tensor_in_two_parts
    ),
)
