"""Arguments that several commands take."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ggufkit.types import TensorType


def positive(text: str) -> int:
    """Parse a number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare what commands that write files have in common."""
    add = parser.add_argument
    add("--dry-run", action="store_true", help="show what would be written, and stop")
    add("--force", action="store_true", help="replace files that exist")
    add("--json", action="store_true", help="print the result as JSON")
    add("-q", "--quiet", action="store_true", help="no progress bar")


def tensor_type(name: str) -> TensorType:
    """Return the tensor type of a name.

    Raises
    ------
    UnknownTensorTypeError
        There is none.
    """
    from ggufkit.errors import UnknownTensorTypeError
    from ggufkit.types import TensorType

    try:
        return TensorType[name.strip().upper()]
    except KeyError:
        raise UnknownTensorTypeError(
            f"unknown tensor type {name!r}: 'ggufkit types' lists them"
        ) from None
