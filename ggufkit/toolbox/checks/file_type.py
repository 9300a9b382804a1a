"""Rules about general.file_type."""

from __future__ import annotations

from collections.abc import Iterator

from ggufkit.converter.planning.recipes import FALLBACK, RECIPES
from ggufkit.rules.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.types import FileType, TensorType

_PLAIN_TYPES = (TensorType.F32, TensorType.F16, TensorType.BF16)
_RETIRED_FILE_TYPES = {4: "Q4_1_SOME_F16", 5: "Q4_2", 6: "Q4_3", 33: "Q4_0_4_4", 34: "Q4_0_4_8"}
_RETIRED_FILE_TYPES |= {35: "Q4_0_8_8", 1024: "guessed"}


def missing_file_type(subject: CheckedModel) -> Iterator[RawFinding]:
    """The type of most tensors is not stated."""
    key = "general.file_type"
    if not (subject.readable and subject.is_model) or key in subject.metadata:
        return
    types = {i.type.name for i in subject.tensors.values() if i.type not in _PLAIN_TYPES}
    types = types or {i.type.name for i in subject.tensors.values() if len(i.shape) > 1}
    found = types.pop() if len(types) == 1 else ""
    fix = None
    if found in FileType.__members__:
        fix = Fix(f"set {key} to {found}", values={key: int(FileType[found])})
    yield RawFinding(f"{key} is missing: programs guess the encoding", fix=fix)


def unknown_file_type(subject: CheckedModel) -> Iterator[RawFinding]:
    """A file type that llama.cpp does not know."""
    number = subject.integer("general.file_type")
    if number is not None and number not in set(FileType):
        known = _RETIRED_FILE_TYPES.get(number)
        what = f"{known}, which is no longer used" if known else "which is not a known file type"
        yield RawFinding(f"general.file_type is {number}: {what}")


def wrong_file_type(subject: CheckedModel) -> Iterator[RawFinding]:
    """No tensor has the type that the file type names."""
    number = subject.integer("general.file_type")
    weights = [i.type for i in subject.tensors.values() if len(i.shape) > 1 and i.type.is_known]
    if not subject.readable or number is None or number not in set(FileType) or not weights:
        return
    name = FileType(number).name
    types = sorted({t.name for t in weights})
    if name in ("F32", "F16", "BF16"):
        wrong = name not in types or any(t.is_quantized for t in weights)
    else:
        base = RECIPES[name].base if name in RECIPES else TensorType.__members__.get(name)
        wanted = {base, FALLBACK.get(base) if base else None}
        wrong = base is not None and not wanted & set(weights)
        # Rows that are not whole blocks of anything are F16.
        wrong = wrong and (any(t.is_quantized for t in weights) or types == ["F32"])
    if wrong:
        yield RawFinding(
            f"general.file_type says {name}, but no tensor has such a type: found "
            f"{', '.join(types)}; 'ggufkit edit FILE --set general.file_type=NUMBER' sets it"
        )


_W, _N = Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule("missing-file-type", _N, "no general.file_type", missing_file_type, fixable=True),
    CheckRule("unknown-file-type", _W, "a general.file_type without a name", unknown_file_type),
    CheckRule("wrong-file-type", _W, "general.file_type contradicts the tensors", wrong_file_type),
)
