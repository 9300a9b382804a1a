"""Files that are not ladders: vocabularies, vision encoders and adapters."""

from __future__ import annotations

from pathlib import Path

from ggufkit.converter.ladder import plan_ladder, run_plan
from ggufkit.converter.sources.base import Source
from ggufkit.gguf.layout import Layout


def write_file(source: Source, out: Path, *, force: bool = False) -> Path:
    """Write the one file of a source, and return its path."""
    return run_plan(plan_ladder(source, out), force=force).paths[0]


def layout(source: Source, out: Path) -> Layout:
    """Lay out the one file of a source."""
    (part,) = plan_ladder(source, out).parts
    return part.layout
