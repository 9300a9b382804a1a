"""Rules about what other programs, or older versions of them, refuse."""

from __future__ import annotations

from collections.abc import Iterator

from ggufkit.errors import named
from ggufkit.gguf.layout import DEFAULT_ALIGNMENT
from ggufkit.rules.llama_cpp import OLLAMA_MAX_ITEMS, OLLAMA_MAX_STRING
from ggufkit.rules.rule import CheckRule, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.types import TensorType, ValueType

# Types that came late -> when, roughly.
_YOUNG = {
    TensorType.TQ1_0: "September 2024",
    TensorType.TQ2_0: "September 2024",
    TensorType.MXFP4: "August 2025",
    TensorType.NVFP4: "2026",
    TensorType.Q1_0: "2026",
    TensorType.Q2_0: "2026",
}
# Types that ggml computes with, but that no file should hold.
_INTERNAL = (TensorType.Q8_1, TensorType.Q8_K)


def long_string(subject: CheckedModel) -> Iterator[RawFinding]:
    """Ollama reads strings up to 16 MiB."""
    for part in subject.parts:
        for key, entry in part.entries.items():
            size = entry.stop - entry.start
            if entry.type is ValueType.STRING and size - 8 > OLLAMA_MAX_STRING:
                yield RawFinding(
                    f"{key} is a text of {size - 8} bytes; Ollama refuses more than "
                    f"{OLLAMA_MAX_STRING}",
                    part.path,
                )


def long_array(subject: CheckedModel) -> Iterator[RawFinding]:
    """Ollama reads arrays up to 64 Mi items."""
    for part in subject.parts:
        for key, entry in part.entries.items():
            if entry.type is ValueType.ARRAY and entry.n_items > OLLAMA_MAX_ITEMS:
                yield RawFinding(
                    f"{key} has {entry.n_items} items; Ollama refuses more than {OLLAMA_MAX_ITEMS}",
                    part.path,
                )


def young_types(subject: CheckedModel) -> Iterator[RawFinding]:
    """Programs older than a type refuse the file."""
    used = {info.type for info in subject.tensors.values()} & _YOUNG.keys()
    for tensor_type in sorted(used):
        yield RawFinding(
            f"{tensor_type.name} has been in llama.cpp since {_YOUNG[tensor_type]}: older "
            "programs, and those that bundle an older llama.cpp, refuse the file"
        )


def internal_types(subject: CheckedModel) -> Iterator[RawFinding]:
    """Types that ggml only computes in."""
    names = [name for name, info in subject.tensors.items() if info.type in _INTERNAL]
    if names:
        yield RawFinding(
            f"{named(names)}: Q8_1 and Q8_K are for computation only, nothing loads them as weights"
        )


def odd_alignment(subject: CheckedModel) -> Iterator[RawFinding]:
    """Most files are aligned to 32 bytes."""
    for part in subject.parts:
        if part.complete and part.alignment != DEFAULT_ALIGNMENT:
            yield RawFinding(
                f"aligned to {part.alignment} bytes, where {DEFAULT_ALIGNMENT} is usual: programs "
                "that don't read general.alignment fail",
                part.path,
            )


RULES = (
    CheckRule("long-string", Severity.WARNING, "a text too long for Ollama", long_string),
    CheckRule("long-array", Severity.WARNING, "an array too long for Ollama", long_array),
    CheckRule(
        "young-types", Severity.NOTE, "tensor types that older programs do not have", young_types
    ),
    CheckRule("internal-types", Severity.ERROR, "types that hold no weights", internal_types),
    CheckRule("odd-alignment", Severity.NOTE, "an alignment other than 32", odd_alignment),
)
