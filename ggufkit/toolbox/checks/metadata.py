"""Rules about single metadata keys: what is missing, of a wrong type, or out of range."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ggufkit.converter.planning.recipes import FALLBACK, RECIPES
from ggufkit.gguf.metadata import KeyType, key_type
from ggufkit.toolbox.checks.llama_cpp import (
    ARCHITECTURES,
    MAX_BLOCKS,
    PLAIN,
    REQUIRED,
    REQUIRED_ALWAYS,
    ROPE_SCALINGS,
    WHOLE_HEAD_ROPE,
)
from ggufkit.toolbox.checks.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.types import FileType, TensorType, ValueType

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
MAX_CONTEXT = 1 << 27  # no model is trained on a tenth of it
_PLAIN_TYPES = (TensorType.F32, TensorType.F16, TensorType.BF16)
_RETIRED_FILE_TYPES = {4: "Q4_1_SOME_F16", 5: "Q4_2", 6: "Q4_3", 33: "Q4_0_4_4", 34: "Q4_0_4_8"}
_RETIRED_FILE_TYPES |= {35: "Q4_0_8_8", 1024: "guessed"}
_INTEGERS = {
    ValueType.UINT8: (0, 2**8),
    ValueType.INT8: (-(2**7), 2**7),
    ValueType.UINT16: (0, 2**16),
    ValueType.INT16: (-(2**15), 2**15),
    ValueType.UINT32: (0, 2**32),
    ValueType.INT32: (-(2**31), 2**31),
    ValueType.UINT64: (0, 2**64),
    ValueType.INT64: (-(2**63), 2**63),
}
_FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)
_READ_BY_LLAMA = ("general.architecture", "general.name", "general.file_type", "general.type")


def missing_architecture(subject: CheckedModel) -> Iterator[RawFinding]:
    """Without it no program knows what to do with the tensors; an imatrix needs none."""
    needed = subject.tensors and subject.text("general.type") != "imatrix"
    if subject.readable and needed and not subject.architecture:
        yield RawFinding(
            "general.architecture is missing: no program can load the file; set it, as in "
            "ggufkit edit FILE --set general.architecture=llama"
        )


def unknown_architecture(subject: CheckedModel) -> Iterator[RawFinding]:
    """An architecture that llama.cpp does not know."""
    if subject.is_model and subject.architecture and subject.architecture not in ARCHITECTURES:
        yield RawFinding(
            f"the architecture {subject.architecture!r} is unknown to llama.cpp: is it newer, "
            "or misspelt?"
        )


def missing_name(subject: CheckedModel) -> Iterator[RawFinding]:
    """The model has no name."""
    if subject.readable and subject.is_model and not subject.text("general.name"):
        yield RawFinding(
            "general.name is missing or empty: programs show the file's name instead; set it with "
            "ggufkit edit"
        )


def missing_quantization_version(subject: CheckedModel) -> Iterator[RawFinding]:
    """The specification requires it where weights are quantized."""
    key = "general.quantization_version"
    quantized = any(info.type.is_quantized for info in subject.tensors.values())
    if subject.readable and quantized and key not in subject.metadata:
        yield RawFinding(
            f"{key} is missing, which quantized files must have",
            fix=Fix(f"set {key} to {QUANTIZATION_VERSION}", values={key: QUANTIZATION_VERSION}),
        )


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
            f"{', '.join(types)}; set it with ggufkit edit"
        )


def missing_key(subject: CheckedModel) -> Iterator[RawFinding]:
    """Keys that llama.cpp requires."""
    arch = subject.architecture
    if not (subject.readable and subject.is_model and arch in ARCHITECTURES):
        return
    keys = [*REQUIRED_ALWAYS, *(key for key, names in REQUIRED.items() if arch in names)]
    missing = [f"{arch}.{key}" for key in keys if f"{arch}.{key}" not in subject.metadata]
    if missing:
        yield RawFinding(
            f"llama.cpp needs {', '.join(missing)}: take the values from config.json and "
            "set them with ggufkit edit"
        )


def wrong_value_type(subject: CheckedModel) -> Iterator[RawFinding]:
    """A standard key of an unexpected type."""
    for key in subject.metadata:
        expected = key_type(key)
        if expected is None or key == "general.alignment" or key.startswith("split."):
            continue
        is_array = subject.metadata.type_of(key) is ValueType.ARRAY
        found, wanted = subject.typed(key), expected.items if is_array else expected.scalar
        if found is wanted or _is_as_good(key, found, wanted, is_array):
            continue
        have, want = _shown(found, is_array), _expected(expected)
        severity = None if _matters(subject, key) else Severity.NOTE
        fix = None if is_array else _cast(key, subject.metadata[key], wanted)
        yield RawFinding(f"{key} is {have}, expected {want}", fix=fix, severity=severity)


def _matters(subject: CheckedModel, key: str) -> bool:
    """Whether llama.cpp reads the key, and so checks its type."""
    own = key.startswith((f"{subject.architecture}.", "tokenizer.ggml."))
    return own or key in _READ_BY_LLAMA


def _is_as_good(key: str, found: ValueType | None, wanted: ValueType | None, array: bool) -> bool:
    """Whether llama.cpp takes one type for the other, which it does within arrays."""
    whole = (ValueType.INT32, ValueType.UINT32, ValueType.BOOL)
    if key == "tokenizer.ggml.scores" and found is ValueType.INT32:
        return True
    if key == "tokenizer.ggml.token_type":
        return False
    bytes_ = (ValueType.INT8, ValueType.UINT8)
    return array and (
        (found in whole and wanted in whole) or (found in bytes_ and wanted in bytes_)
    )


def _expected(expected: KeyType) -> str:
    both = [_shown(expected.scalar, False)] if expected.scalar is not None else []
    both += [_shown(expected.items, True)] if expected.items is not None else []
    return " or ".join(both)


def _shown(value_type: ValueType | None, is_array: bool) -> str:
    name = value_type.name if value_type is not None else "nothing"
    return f"an array of {name}" if is_array else name


def _cast(key: str, value: Any, wanted: ValueType | None) -> Fix | None:
    """Return the fix that keeps the value, if the other type can hold it."""
    if wanted is None or isinstance(value, list | str):
        return None
    if wanted is ValueType.BOOL and value in (0, 1):
        value = bool(value)
    elif isinstance(value, bool) or not math.isfinite(value):
        return None
    elif wanted in _INTEGERS and value == int(value):
        low, end = _INTEGERS[wanted]
        if not low <= value < end:
            return None
        value = int(value)
    elif wanted in _FLOATS:
        value = float(value)
    else:
        return None
    return Fix(f"make {key} {wanted.name}", values={key: (value, wanted)})


def block_limit(subject: CheckedModel) -> Iterator[RawFinding]:
    """The number of blocks is within llama.cpp's limit."""
    count = subject.hparam("block_count")
    if subject.is_model and count is not None and not 0 < count <= MAX_BLOCKS:
        yield RawFinding(f"block_count is {count}; expected 1..{MAX_BLOCKS}")


def odd_context(subject: CheckedModel) -> Iterator[RawFinding]:
    """A context length that no model has."""
    length = subject.hparam("context_length")
    if subject.is_model and length is not None and not 0 < length <= MAX_CONTEXT:
        yield RawFinding(
            f"context_length is {length}, which no model was trained with: programs "
            "reserve memory for it, or stop; set it with ggufkit edit"
        )


def rope_base(subject: CheckedModel) -> Iterator[RawFinding]:
    """The RoPE base."""
    key = f"{subject.architecture}.rope.freq_base"
    base = subject.number(key)
    if base is not None and not (math.isfinite(base) and base >= 1):
        yield RawFinding(f"{key} is {base}: expected a number above 1, usually 10000 or more")
    elif key not in subject.metadata and subject.readable and subject.architecture in PLAIN:
        length = subject.hparam("context_length") or 0
        if subject.is_model and length > 8192:
            yield RawFinding(
                f"{key} is missing: llama.cpp assumes 10000, unusual for a context of {length}",
                severity=Severity.NOTE,
            )


def rope_scaling(subject: CheckedModel) -> Iterator[RawFinding]:
    """RoPE scaling with a missing type or factor."""
    prefix = f"{subject.architecture}.rope.scaling"
    has_type, kind = f"{prefix}.type" in subject.metadata, subject.text(f"{prefix}.type")
    factor = subject.number(f"{prefix}.factor")
    if has_type and kind not in ROPE_SCALINGS:
        yield RawFinding(
            f"{prefix}.type is {kind!r}; llama.cpp knows {', '.join(ROPE_SCALINGS)}",
            severity=Severity.ERROR,
        )
    elif factor is not None and not (math.isfinite(factor) and factor > 0):
        yield RawFinding(f"{prefix}.factor is {factor}", severity=Severity.ERROR)
    elif factor is not None and factor != 1 and not has_type:
        yield RawFinding(
            f"{prefix}.factor is {factor:g}, but {prefix}.type is missing: taken as linear"
        )
    elif kind in ("linear", "yarn") and factor is None:
        yield RawFinding(
            f"{prefix}.type is {kind}, but {prefix}.factor is missing: nothing is scaled"
        )
    elif kind == "yarn" and f"{prefix}.original_context_length" not in subject.metadata:
        yield RawFinding(
            f"{prefix}.type is yarn, but {prefix}.original_context_length is missing: llama.cpp "
            "takes context_length for it"
        )


def rope_dimensions(subject: CheckedModel) -> Iterator[RawFinding]:
    """Some architectures apply RoPE to whole heads."""
    dims, heads = subject.hparam("rope.dimension_count"), subject.hparam("attention.head_count", 0)
    embedding = subject.hparam("embedding_length")
    if not dims or not heads or not embedding or subject.architecture not in WHOLE_HEAD_ROPE:
        return
    head = subject.hparam("attention.key_length") or embedding // heads
    if dims != head:
        yield RawFinding(
            f"rope.dimension_count is {dims}, but heads have {head} dimensions: llama.cpp "
            "refuses the file"
        )


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule("missing-architecture", _E, "no general.architecture", missing_architecture),
    CheckRule(
        "unknown-architecture",
        _W,
        "llama.cpp does not support the architecture",
        unknown_architecture,
    ),
    CheckRule("missing-name", _N, "no general.name", missing_name),
    CheckRule(
        "missing-quantization-version",
        _W,
        "no general.quantization_version",
        missing_quantization_version,
        fixable=True,
    ),
    CheckRule("missing-file-type", _N, "no general.file_type", missing_file_type, fixable=True),
    CheckRule("unknown-file-type", _W, "a general.file_type without a name", unknown_file_type),
    CheckRule("wrong-file-type", _W, "general.file_type contradicts the tensors", wrong_file_type),
    CheckRule("missing-key", _E, "a key that llama.cpp needs is missing", missing_key),
    CheckRule(
        "wrong-value-type", _E, "a key has an unexpected type", wrong_value_type, fixable=True
    ),
    CheckRule("block-limit", _E, "block_count is 0 or above llama.cpp's limit", block_limit),
    CheckRule("odd-context", _E, "context_length is 0 or huge", odd_context),
    CheckRule("rope-base", _E, "rope.freq_base is missing or invalid", rope_base),
    CheckRule("rope-scaling", _W, "rope scaling lacks its type or factor", rope_scaling),
    CheckRule("rope-dimensions", _E, "rope.dimension_count is not the head's", rope_dimensions),
)
