"""Types of arguments that several commands take."""

from __future__ import annotations


def positive(text: str) -> int:
    """Parse a number above 0."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
