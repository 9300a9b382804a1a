"""How `ggufkit convert` shows plans and results, for people and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.json_output import emit, to_json
from ggufkit.io.text import write_text_atomic
from ggufkit.mapping.name_ranges import collapse

if TYPE_CHECKING:
    from ggufkit.converter.ladder import Ladder
    from ggufkit.converter.mix.result import Mix
    from ggufkit.converter.planning.plan import Plan, Rung
    from ggufkit.converter.planning.resources import ResourceEstimate
    from ggufkit.converter.sources.base import Source


def label(plan: Plan) -> str:
    """Return what the progress bar says."""
    names = [rung.name for rung in plan.rungs]
    return names[0] if len(names) == 1 else f"{len(names)} rungs"


def announce(needs: ResourceEstimate) -> None:
    """Say before the start what a run takes, where output is for people and programs alike."""
    render.remark(_needed(needs))


def _needed(needs: ResourceEstimate) -> str:
    fetched = f", {render.size(needs.network)} to fetch" if needs.network else ""
    return (
        f"At most {render.size(needs.disk)} of disk space at a time, "
        f"about {render.size(needs.memory)} of memory{fetched}."
    )


def plan(plan: Plan, needs: ResourceEstimate, *, as_json: bool, mixes: Sequence[Mix] = ()) -> None:
    """Show what would be written: every file's size and every tensor's type."""
    if as_json:
        emit({**_plan_dict(plan, mixes), "needs": asdict(needs)})
        return
    for rung in plan.rungs:
        render.heading(f"{rung.name}: tensor types")
        by_type = defaultdict(list)
        for name, target in rung.targets.items():
            by_type[target.type.name].append(name)
        render.fields((type_, "  ".join(collapse(names))) for type_, names in by_type.items())
        render.blank()
    _files(plan, {})
    _remarks(plan)
    render.note(_needed(needs))


def result(
    ladder: Ladder, *, as_json: bool, mixes: Sequence[Mix] = (), url: str | None = None
) -> None:
    """Show what was written, with the errors of weights, and where it is if not here."""
    if as_json:
        sent = {} if url is None else {"url": url}
        emit({**_plan_dict(ladder.plan, mixes), "report": errors(ladder), **sent})
        return
    totals = {rung.name: ladder.report.of_rung(rung) for rung in _fresh(ladder).rungs}
    _files(
        ladder.plan,
        {
            name: (f"{total.rmse:.2e}", f"{total.max_abs_error:.2e}", f"{total.cosine:.5f}")
            for name, total in totals.items()
            if total is not None
        },
    )
    _remarks(ladder.plan)
    for name, n in ladder.report.nonfinite.items():
        what = "set to 0" if ladder.plan.nonfinite == "zero" else "kept"
        render.note(f"{name}: {n} weights that are NaN or infinite were {what}.")
    if totals:
        render.note("RMSE, max error and cosine are errors of weights; they do not rate the model.")
    if ladder.done_before:
        render.note(f"Complete already: {', '.join(ladder.done_before)}.")
    if url is not None:
        render.heading(url)


def errors(ladder: Ladder) -> dict[str, Any]:
    """Return the errors of every tensor of the rungs that were encoded."""
    return ladder.report.as_dict(_fresh(ladder))


def write_report(ladder: Ladder, path: Path) -> None:
    """Write the errors of every tensor to a file."""
    write_text_atomic(path, to_json(errors(ladder)) + "\n")


def _fresh(ladder: Ladder) -> Plan:
    return ladder.plan.only([r for r in ladder.plan.rungs if r.name not in ladder.done_before])


def _files(plan: Plan, totals: Mapping[str, tuple[str, ...]]) -> None:
    measures = ("RMSE", "max error", "cosine") if totals else ()
    # a plan promises bytes; a result has no room for them next to the errors
    columns = ("type", "size" if measures else "bytes", "bpw", *measures, "file")
    show_size = render.size if measures else str
    rows = [
        (
            rung.name,
            show_size(part.layout.file_size),
            f"{rung.bits_per_weight:.2f}",
            *(totals.get(rung.name, ("",) * len(measures)) if measures else ()),
            part.path.name,
        )
        for rung in plan.rungs
        for part in rung.parts
    ]
    if plan.rungs:
        render.heading(str(plan.rungs[0].parts[0].path.parent))
    render.table(columns, rows, right=columns[1:-1], fold=True)


def _remarks(plan: Plan) -> None:
    from ggufkit.architectures.left_out import BUFFERS
    from ggufkit.converter.planning.qat_grid import is_quantization_aware

    origin = plan.source.origin
    unverified(origin)
    doubts(plan.source)
    for left in origin.get("left_out", ()):
        if left["why"] != BUFFERS:
            render.note(_left_out(left))
    quantized = origin.get("quantized")
    if quantized:
        render.note(f"The source is quantized: {quantized}.")
    if not plan.source.n_remote and is_quantization_aware(
        plan.source
    ):  # a look would fetch rows again
        render.note("The weights lie on the grid of Q4_0: it changes them no more than BF16 does.")
    for why in plan.skipped.values():
        render.note(f"Left out: {why}.")


def doubts(source: Source) -> None:
    """Say what is contradictory in a source or left out of it, and what became of the self-test."""
    for text in source.origin.get("notes", ()):
        first = text.split(" ", 1)[0]  # a name stays as it is
        render.warning(f"{first.capitalize() if first.isalpha() else first}{text[len(first) :]}.")
    tested = getattr(source, "self_test", None)  # a GGUF file has its tokenizer already
    if tested is not None:
        (render.warning if tested.why else render.note)(f"tokenizer: {tested}")


def _left_out(left: Mapping[str, Any]) -> str:
    tensors = "tensor" if left["count"] == 1 else "tensors"
    return f"Left out: {left['count']} {tensors} ({', '.join(left['tensors'])}): {left['why']}."


def unverified(origin: Mapping[str, Any]) -> None:
    """Warn of a model that was converted by gguf-py's table alone."""
    generic = origin.get("generic")
    if generic is None:
        return
    render.warning(f"UNVERIFIED, as {generic['table']} (--generic): {generic['note']}.")
    render.note("Compare its answers with the original model before anyone relies on it.")
    if generic["transformed"]:
        names = ", ".join(generic["transformed"])
        render.warning(f"In other {generic['table']} models, these are transformed: {names}.")
    if generic["absent"]:
        lacks = ", ".join(generic["absent"])
        render.note(f"In the table, but neither in the checkpoint nor perhaps needed: {lacks}.")


def _self_test(plan: Plan) -> str | None:
    tested = getattr(plan.source, "self_test", None)
    return None if tested is None else str(tested)


def _plan_dict(plan: Plan, mixes: Sequence[Mix]) -> dict[str, Any]:
    return {
        "source": plan.source.origin,
        "via": plan.via.name,
        "skipped": dict(plan.skipped),
        "self_test": _self_test(plan),
        "mixes": [mix.as_dict() for mix in mixes],
        "rungs": [_rung_dict(rung) for rung in plan.rungs],
    }


def _rung_dict(rung: Rung) -> dict[str, Any]:
    return {
        "name": rung.name,
        "bytes": rung.n_bytes,
        "bits_per_weight": rung.bits_per_weight,
        "files": [{"path": str(p.path), "bytes": p.layout.file_size} for p in rung.parts],
        "tensors": [{"name": name, **target.as_dict()} for name, target in rung.targets.items()],
    }
