"""Rules about the file's name: the convention of the specification, and what it claims."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ggufkit.converter.planning.recipes import ALIASES
from ggufkit.gguf.naming import EXTENSION, parse_name
from ggufkit.gguf.split import parse_part_name
from ggufkit.rules.rule import CheckRule, RawFinding, Severity
from ggufkit.toolbox.checks.subject import CheckedModel
from ggufkit.types import FileType

_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([QTBMK])", re.IGNORECASE | re.ASCII)
_SCALES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "Q": 1e15}
_TOLERANCE = 1.5  # labels are rounded, and some leave the embeddings out
_VERSION = re.compile(r"-v\d+(\.\d+)*(?=[-.])", re.ASCII)


def _stem(subject: CheckedModel) -> str:
    name = subject.path.name
    part = parse_part_name(name)
    return part[0] if part else name.removesuffix(EXTENSION)


def file_name(subject: CheckedModel) -> Iterator[RawFinding]:
    """``Base-Size-FineTune-Version-Encoding.gguf``, where llama.cpp leaves the version out."""
    name = subject.path.name
    if not subject.is_model:
        return
    versioned = name if _VERSION.search(name) else _with_version(_stem(subject))
    if parse_name(versioned) is None:
        yield RawFinding(
            "the name does not follow BaseName-SizeLabel-FineTune-Version-Encoding.gguf: programs "
            "that read it can't tell the size or encoding"
        )


def _with_version(stem: str) -> str:
    """Insert a version before the encoding: names without one are common."""
    head, dash, encoding = stem.rpartition("-")
    if dash and _named_type(stem) is not None:
        return f"{head}-v1.0-{encoding}{EXTENSION}"
    return f"{stem}-v1.0{EXTENSION}"


def _named_type(stem: str) -> str | None:
    """Return the file type that a name ends with."""
    last = re.split(r"[-.]", stem)[-1].upper()
    last = ALIASES.get(last, last)
    return last if last in FileType.__members__ else None


def name_encoding(subject: CheckedModel) -> Iterator[RawFinding]:
    """The name's encoding is the file's."""
    claimed, number = _named_type(_stem(subject)), subject.integer("general.file_type")
    if claimed is None or number is None or number not in set(FileType):
        return
    stated = FileType(number).name
    if claimed != stated:
        yield RawFinding(
            f"the name says {claimed}, general.file_type {stated}: rename it, or set the key"
        )


def size_label(subject: CheckedModel) -> Iterator[RawFinding]:
    """The size label is the model's."""
    match = _SIZE.fullmatch(subject.text("general.size_label"))
    if match is None or match[1] or not (subject.readable and subject.is_model):
        return
    stated = float(match[2]) * _SCALES[match[3].upper()]
    if not stated / _TOLERANCE <= subject.n_weights <= stated * _TOLERANCE:
        yield RawFinding(
            f"general.size_label is {match[0]}, but the file holds {subject.n_weights} weights"
        )


RULES = (
    CheckRule("file-name", Severity.NOTE, "the name does not follow the convention", file_name),
    CheckRule("name-encoding", Severity.WARNING, "the name states another encoding", name_encoding),
    CheckRule("size-label", Severity.NOTE, "general.size_label is far off", size_label),
)
