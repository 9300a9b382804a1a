"""Show which rung of a model fits into memory, what it needs, and how many layers fit on the GPU.

MODEL is a GGUF file or a part of a split one (a path, hf:owner/name/FILE or a URL), a folder of
GGUF files, or a checkpoint (a folder or owner/name), whose rungs are planned. No weights are read.
Weights and KV cache are counted as llama.cpp allocates them; compute buffers and overhead are
estimates. Without --vram and --ram, the memory of this machine counts. Sizes are in powers of
1024. Exit code 0 if a rung fits, 1 if none does.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_count, add_shared, refuse
from ggufkit.cli.json_output import emit
from ggufkit.cli.memory_arguments import add_memory_arguments, run_fit

if TYPE_CHECKING:
    from ggufkit.toolbox.fit.fit import Fit
    from ggufkit.toolbox.fit.placing import Placement

_MARK = {"gpu": "yes", "ram": "yes", "both": "partly", "nowhere": "no"}


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add_memory_arguments(parser, ladder="all")
    add = parser.add_argument
    add("--kv-k", metavar="TYPE", help="type of the keys, if not that of --kv")
    add("--kv-v", metavar="TYPE", help="type of the values, if not that of --kv")
    add_count(parser, "--parallel", default=1, text="sequences that share the context")
    add_count(parser, "--ubatch", default=512, text="tokens computed at a time")
    add("--table", action="store_true", help="show GiB for several context lengths")
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Compute and print."""
    if args.kv_k and args.kv_v:
        refuse(args, "with both --kv-k and --kv-v", "--kv")
    found = run_fit(
        args,
        ladder=args.ladder,
        k=args.kv_k or args.kv,
        v=args.kv_v or args.kv,
        parallel=args.parallel,
        ubatch=args.ubatch,
    )
    if args.json:
        _print_json(found, with_table=args.table)
    else:
        _show(found, with_table=args.table)
    return int(found.best is None)


def _print_json(found: Fit, *, with_table: bool) -> None:
    from ggufkit.toolbox.fit.fit import table

    result = found.as_dict()
    if with_table:
        result["table"] = [p.as_dict() for row in table(found).values() for p in row]
    emit(result)


def _show(found: Fit, *, with_table: bool) -> None:
    render.heading(found.sentence)
    if with_table:
        _show_table(found)
    else:
        _show_rungs(found)
    for note in _notes(found):
        render.note(note)


def _show_rungs(found: Fit) -> None:
    shown = [_columns_of(placed) for placed in found.placements]
    unused = {
        *(() if found.memory.vram else ("VRAM", "GPU layers")),
        *(() if any(p.need.state for p in found.placements) else ("states",)),
    }
    columns = [title for title in shown[0] if title not in unused] if shown else ["type"]
    rows = [[cells[title] for title in columns] for cells in shown]
    render.table(columns, rows, right=columns[1:-1])


def _columns_of(placed: Placement) -> dict[str, str]:
    from ggufkit.toolbox.fit.fit import gib

    need = placed.need
    return {
        "type": need.candidate.name,
        "weights": gib(need.weights.total),
        "KV cache": gib(need.kv),
        "states": gib(need.state),
        "compute": gib(need.compute),
        "VRAM": gib(placed.vram),
        "RAM": gib(placed.ram),
        "GPU layers": f"{placed.n_gpu_layers}/{need.shape.n_layers + 1}",
        "longest context": str(placed.longest_context),
        "fits": _MARK[placed.where],
    }


def _show_table(found: Fit) -> None:
    from ggufkit.toolbox.fit.fit import table

    by_context = table(found)
    columns = ("GiB at tokens", *map(str, by_context))
    rows = [
        (placed.need.candidate.name, *(_cell(row[i]) for row in by_context.values()))
        for i, placed in enumerate(found.placements)
    ]
    render.table(columns, rows, right=columns[1:])


def _cell(placed: Placement) -> str:
    from ggufkit.toolbox.fit.fit import gib

    return f"{gib(placed.needed)} {_MARK[placed.where]}"


def _notes(found: Fit) -> list[str]:
    notes = []
    if found.estimated:
        notes.append("An estimate: the sizes are those of a usual dense model.")
    notes += [
        f"{p.need.candidate.name}: a mixture of experts runs faster with all layers on the GPU and "
        f"the experts of {p.n_cpu_moe} of them in RAM: llama.cpp's -ngl "
        f"{p.need.shape.n_layers + 1} --n-cpu-moe {p.n_cpu_moe}"
        for p in found.placements
        if p.n_cpu_moe
    ]
    trained = max((p.need.shape.trained_context for p in found.placements), default=0)
    context = max((p.need.options.context for p in found.placements), default=0)
    if trained and context > trained:
        notes.append(f"The model was trained for {trained} tokens.")
    if any(p.need.shape.rough for p in found.placements):
        notes.append("llama.cpp keeps more than is counted here for this architecture.")
    return notes
