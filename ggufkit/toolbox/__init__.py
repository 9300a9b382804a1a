"""Tools for finished files: hash, diff, split, merge, edit. None of them changes a weight."""

from __future__ import annotations

from ggufkit.types import Progress as Progress


def silent(n_bytes: int) -> None:
    """Show no progress."""
