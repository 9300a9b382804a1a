"""How `ggufkit inspect` shows an importance matrix in the format before GGUF."""

from __future__ import annotations

from ggufkit.calibration.imatrix import Imatrix
from ggufkit.cli import render
from ggufkit.cli.json_output import emit


def show(path: str, *, as_json: bool) -> int:
    """Print an importance matrix in the format before GGUF."""
    imatrix = Imatrix.open(path)
    sizes = {name: int(entry.sums.size) for name, entry in sorted(imatrix.entries.items())}
    facts = {
        "type": "imatrix",
        "entries": len(imatrix.entries),
        "chunks": imatrix.n_chunks,
        "datasets": list(imatrix.datasets),
        "tensors": sizes,
    }
    if as_json:
        emit(facts)
        return 0
    render.heading(imatrix.name)
    render.fields(
        [
            ("type", "imatrix, legacy format"),
            ("entries", f"{len(imatrix.entries)} tensors"),
            ("chunks", str(imatrix.n_chunks)),
            ("datasets", ", ".join(imatrix.datasets) or "not said"),
        ]
    )
    render.blank()
    rows = [(name, str(size)) for name, size in sizes.items()]
    render.table(("tensor", "values"), rows, right=("values",))
    return 0
