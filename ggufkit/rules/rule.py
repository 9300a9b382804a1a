"""What a rule is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeAlias


class Severity(IntEnum):
    """How much a finding matters.

    An error: a program refuses the file, or the model's output is wrong. A warning: probably
    not intended. A note: worth knowing.
    """

    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        """The name, for display."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Fix:
    """A harmless change, in terms of `ggufkit.toolbox.edit.edit`.

    Attributes
    ----------
    what : str
        The change in words.
    values : mapping
        Keys to set.
    delete : tuple of str
        Keys to delete.
    drop_tensors : tuple of str
        Names of tensors to leave out.
    rewrite : bool
        Rewrite the file with a regular layout.
    """

    what: str
    values: Mapping[str, Any] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    drop_tensors: tuple[str, ...] = ()
    rewrite: bool = False


@dataclass(frozen=True, slots=True)
class RawFinding:
    """What a rule yields.

    Attributes
    ----------
    message : str
        What is wrong, where, and what to do.
    path : Path or None
        The part of a split that it is about; None for the first.
    fix : Fix or None
        A safe change that removes it.
    severity : Severity or None
        Overrides the rule's.
    """

    message: str
    path: Path | None = None
    fix: Fix | None = None
    severity: Severity | None = None


# Takes a `DescribedModel`, or the `CheckedModel` of a file.
Check: TypeAlias = Callable[[Any], Iterator[RawFinding]]


@dataclass(frozen=True, slots=True)
class CheckRule:
    """A row of the table of rules.

    Attributes
    ----------
    id : str
        Its name, for ``--ignore``.
    severity : Severity
        Severity of its findings, unless they override it.
    title : str
        The fault, in a few words.
    check : callable
        Yields what it finds.
    fixable : bool
        Whether ``--fix`` can remove (some of) what it finds.
    refused : bool
        Whether llama.cpp refuses to load what the rule calls an error.
    """

    id: str
    severity: Severity
    title: str
    check: Check
    fixable: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a file.

    Attributes
    ----------
    rule : str
        The rule's id.
    severity : Severity
        How much it matters.
    message : str
        What is wrong, where, and what to do.
    path : Path
        The file.
    fix : Fix or None
        A safe change that removes it.
    """

    rule: str
    severity: Severity
    message: str
    path: Path
    fix: Fix | None = None
