"""Tools for finished files: hash, diff, split, merge, edit. None of them changes a weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with the number of bytes that are done, from any thread.
Progress: TypeAlias = Callable[[int], None]


def silent(n_bytes: int) -> None:
    """Show no progress."""
