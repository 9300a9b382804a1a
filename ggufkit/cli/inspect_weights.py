"""Statistics of weights, as `ggufkit inspect --stats` shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.gguf.model import GGUFModel


def show_stats(
    file: GGUFModel,
    wanted: Callable[[str], bool],
    jobs: int | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Measure the weights and print a table."""
    from ggufkit.toolbox.stats import OUTLIER, tensor_stats

    total = sum(info.nbytes for info in file.tensors.values() if wanted(info.name))
    with render.progress(total, "stats", enabled=not quiet) as advance:
        found = tensor_stats(file, wanted, jobs=jobs, progress=advance)
    if as_json:
        emit([stats.as_dict() for stats in found])
        return
    columns = ("min", "max", "mean", "std", "outliers", "zero blocks", "not finite")
    rows = [
        (
            s.name,
            s.type,
            *(f"{value:.3g}" for value in (s.least, s.most, s.mean, s.std)),
            *(str(n) if n else "" for n in (s.n_outliers, s.n_zero_blocks, s.n_nonfinite)),
        )
        for s in found
    ]
    render.table(("name", "type", *columns), rows, right=columns)
    render.note(f"Outliers: further than {OUTLIER:g} standard deviations from the mean.")
