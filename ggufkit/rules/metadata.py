"""Rules about single metadata keys: what is missing, of a wrong type, or out of range."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

from ggufkit.gguf.metadata import KeyType, key_type
from ggufkit.rules.llama_cpp import (
    ARCHITECTURES,
    MAX_BLOCKS,
    PLAIN,
    READ,
    REQUIRED,
    REQUIRED_ALWAYS,
    ROPE_SCALINGS,
    SUPERSEDED,
    TOKEN_TYPES,
    WHOLE_HEAD_ROPE,
)
from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, Fix, RawFinding, Severity
from ggufkit.types import ValueType

_TYPE_COUNT = "tokenizer.ggml.token_type_count"
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
MAX_CONTEXT = 1 << 27  # no model is trained on a tenth of it
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


def missing_architecture(subject: DescribedModel) -> Iterator[RawFinding]:
    """Without it no program knows what to do with the tensors; an imatrix needs none."""
    needed = subject.tensors and subject.text("general.type") != "imatrix"
    if not (subject.readable and needed) or subject.architecture:
        return
    if subject.is_foreign:
        yield RawFinding(
            "general.architecture is missing, and the tensors are none of llama.cpp's: a model "
            "for another program",
            severity=Severity.NOTE,
        )
    else:
        yield RawFinding(
            "general.architecture is missing: no program can load the file; "
            "'ggufkit edit FILE --set general.architecture=NAME' sets it, such as llama"
        )


def unknown_architecture(subject: DescribedModel) -> Iterator[RawFinding]:
    """An architecture that llama.cpp does not know."""
    arch = subject.architecture
    if subject.is_foreign and arch and subject.tensors:
        yield RawFinding(
            f"the architecture {arch!r} is unknown to llama.cpp, and so are the tensors: a model "
            "for another program, which the rules for llama.cpp do not concern"
        )
    elif subject.is_model and arch and arch not in ARCHITECTURES:
        yield RawFinding(
            f"the architecture {arch!r} is unknown to llama.cpp: is it newer, or misspelt?"
        )


def missing_name(subject: DescribedModel) -> Iterator[RawFinding]:
    """The model has no name."""
    if subject.readable and subject.is_model and not subject.text("general.name"):
        yield RawFinding(
            "general.name is missing or empty: programs show the file's name instead; "
            "'ggufkit edit FILE --set general.name=NAME' sets it"
        )


def missing_quantization_version(subject: DescribedModel) -> Iterator[RawFinding]:
    """The specification requires it where weights are quantized."""
    key = "general.quantization_version"
    quantized = any(info.type.is_quantized for info in subject.tensors.values())
    if subject.readable and quantized and key not in subject.metadata:
        yield RawFinding(
            f"{key} is missing, which quantized files must have",
            fix=Fix(f"set {key} to {QUANTIZATION_VERSION}", values={key: QUANTIZATION_VERSION}),
        )


def missing_key(subject: DescribedModel) -> Iterator[RawFinding]:
    """Keys that llama.cpp requires."""
    arch = subject.architecture
    if not (subject.readable and subject.is_model and arch in ARCHITECTURES):
        return
    keys = [*REQUIRED_ALWAYS, *(key for key, names in REQUIRED.items() if arch in names)]
    wanted = [[f"{arch}.{name}" for name in key.split("|")] for key in keys]
    missing = [
        " or ".join(names) for names in wanted if not any(n in subject.metadata for n in names)
    ]
    if arch in TOKEN_TYPES and _TYPE_COUNT not in subject.metadata:
        missing.append(_TYPE_COUNT)
    if missing:
        words = " ".join(f"--set {key}=VALUE" for key in missing)
        yield RawFinding(
            f"llama.cpp needs {', '.join(missing)}: take the values from config.json, and "
            f"'ggufkit edit FILE {words}' sets them"
        )


def wrong_value_type(subject: DescribedModel) -> Iterator[RawFinding]:
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


def _matters(subject: DescribedModel, key: str) -> bool:
    """Whether llama.cpp reads the key, and so checks its type."""
    prefix, _, rest = key.partition(".")
    if prefix != subject.architecture or prefix not in ARCHITECTURES:
        return key.startswith("tokenizer.ggml.") or key in _READ_BY_LLAMA
    if f"{prefix}.{SUPERSEDED.get(rest, '')}" in subject.metadata:
        return False
    return bool(READ.get(rest, frozenset()) & {"*", prefix})


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
        if wanted is ValueType.FLOAT32 and not _is_float32(value):
            return None  # the fix would lose digits
    else:
        return None
    return Fix(f"make {key} {wanted.name}", values={key: (value, wanted)})


def _is_float32(value: float) -> bool:
    """Whether a float32 holds the value, or is what its decimal digits mean: 1e-05."""
    try:
        (short,) = struct.unpack("<f", struct.pack("<f", value))
    except OverflowError:
        return False
    return short == value or float(f"{short:.7g}") == value


def block_limit(subject: DescribedModel) -> Iterator[RawFinding]:
    """The number of blocks is within llama.cpp's limit."""
    count = subject.hparam("block_count")
    if subject.is_model and count is not None and not 0 < count <= MAX_BLOCKS:
        yield RawFinding(f"block_count is {count}; expected 1..{MAX_BLOCKS}")


# Keys with an item for each block, where they are arrays.
_BY_BLOCK = (
    *("feed_forward_length", "expert_feed_forward_length", "expert_used_count"),
    *("attention.head_count", "attention.head_count_kv", "attention.recurrent_layers"),
    *("xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps"),
)
_SECTIONS = 4  # of M-RoPE


def array_lengths(subject: DescribedModel) -> Iterator[RawFinding]:
    """Arrays have an item for each block (``llama_model_loader::get_key_or_arr``)."""
    lengths = dict.fromkeys(_BY_BLOCK, subject.hparam("block_count"))
    lengths["rope.dimension_sections"] = _SECTIONS
    for key, expected in lengths.items():
        value = subject.metadata.get(f"{subject.architecture}.{key}")
        if not subject.is_model or not isinstance(value, list) or expected in (None, len(value)):
            continue
        what = "" if key.startswith("rope") else ", one for each block"
        yield RawFinding(
            f"{subject.architecture}.{key} has {len(value)} items; llama.cpp expects "
            f"{expected}{what}, and refuses the file"
        )


def expert_groups(subject: DescribedModel) -> Iterator[RawFinding]:
    """Groups of experts, of which some are used."""
    n, groups = subject.hparam("expert_count") or 0, subject.hparam("expert_group_count") or 0
    used = subject.hparam("expert_group_used_count") or 0
    if not subject.is_model or not groups:
        return
    if groups >= max(n, 1) or (groups > 1 and (n % groups or not 0 < used < groups)):
        yield RawFinding(
            f"expert_group_count {groups} and expert_group_used_count {used} don't fit "
            f"expert_count {n}: groups have to divide the experts, and fewer be used than there "
            "are; llama.cpp refuses the file"
        )


def odd_context(subject: DescribedModel) -> Iterator[RawFinding]:
    """A context length that no model has."""
    length = subject.hparam("context_length")
    if subject.is_model and length is not None and not 0 < length <= MAX_CONTEXT:
        yield RawFinding(
            f"context_length is {length}, which no model was trained with: programs "
            "reserve memory for it, or stop; 'ggufkit edit FILE --set "
            f"{subject.architecture}.context_length=TOKENS' sets it"
        )


def rope_base(subject: DescribedModel) -> Iterator[RawFinding]:
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


def rope_scaling_type(subject: DescribedModel) -> Iterator[RawFinding]:
    """A RoPE scaling that llama.cpp does not know."""
    key = f"{subject.architecture}.rope.scaling.type"
    if key in subject.metadata and subject.text(key) not in ROPE_SCALINGS:
        yield RawFinding(
            f"{key} is {subject.metadata[key]!r}; llama.cpp knows {', '.join(ROPE_SCALINGS)}, "
            "and aborts"
        )


def rope_scaling(subject: DescribedModel) -> Iterator[RawFinding]:
    """RoPE scaling with a missing type or factor."""
    prefix = f"{subject.architecture}.rope.scaling"
    has_type, kind = f"{prefix}.type" in subject.metadata, subject.text(f"{prefix}.type")
    factor = subject.number(f"{prefix}.factor")
    if factor is not None and not (math.isfinite(factor) and factor > 0):
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


def rope_dimensions(subject: DescribedModel) -> Iterator[RawFinding]:
    """Some architectures apply RoPE to whole heads."""
    dims, heads = subject.hparam("rope.dimension_count"), subject.hparam("attention.head_count", 0)
    embedding = subject.hparam("embedding_length")
    if dims is None or not heads or not embedding or subject.architecture not in WHOLE_HEAD_ROPE:
        return
    head = subject.hparam("attention.key_length") or embedding // heads
    if dims != head:
        yield RawFinding(
            f"rope.dimension_count is {dims}, but heads have {head} dimensions: llama.cpp "
            "refuses the file"
        )


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

RULES = (
    CheckRule(
        "missing-architecture", _E, "no general.architecture", missing_architecture, refused=True
    ),
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
    CheckRule(
        "missing-key", _E, "a key that llama.cpp needs is missing", missing_key, refused=True
    ),
    CheckRule(
        "wrong-value-type",
        _E,
        "a key has an unexpected type",
        wrong_value_type,
        fixable=True,
        refused=True,
    ),
    CheckRule(
        "block-limit", _E, "block_count is 0 or above llama.cpp's limit", block_limit, refused=True
    ),
    CheckRule(
        "array-lengths",
        _E,
        "an array that has not an item for each block",
        array_lengths,
        refused=True,
    ),
    CheckRule("expert-groups", _E, "groups of experts contradict", expert_groups, refused=True),
    CheckRule("odd-context", _E, "context_length is 0 or huge", odd_context),
    CheckRule("rope-base", _E, "rope.freq_base is missing or invalid", rope_base),
    CheckRule(
        "rope-scaling-type",
        _E,
        "rope scaling of a type that llama.cpp does not know",
        rope_scaling_type,
        refused=True,
    ),
    CheckRule("rope-scaling", _W, "rope scaling lacks its type or factor", rope_scaling),
    CheckRule(
        "rope-dimensions",
        _E,
        "rope.dimension_count is not the head's",
        rope_dimensions,
        refused=True,
    ),
)
