"""Say which rung of a model fits into memory, what it needs, and how many layers a GPU takes.

MODEL is a GGUF file or a part of a split one (here, hf:OWNER/NAME/FILE or a URL), a folder of GGUF
files, or a checkpoint (a folder or OWNER/NAME), whose rungs are planned. No weight is read.
Weights and KV cache are counted as llama.cpp allocates them; compute buffers and overhead are
estimates. Without --vram and --ram, this machine's memory counts. Memory is in powers of 1024.
Exit code 0: something fits, 1: nothing does.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ggufkit.cli.arguments import positive
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.toolbox.fit import Fit
    from ggufkit.toolbox.fit.placing import Placement

_MARK = {"gpu": "yes", "ram": "yes", "both": "partly", "nowhere": "no"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="a GGUF file, a folder of them, a checkpoint")
    add("--params", metavar="N", help="instead: a usual dense model of N weights, such as 70B")
    add("--ladder", metavar="L", help="rungs to plan, as for convert; default: all")
    add("-c", "--context", type=positive, metavar="N", help="tokens; default: 8192 at most")
    add("--kv", metavar="TYPE", default="f16", help="KV cache: f16, q8_0, q4_0, ...")
    add("--kv-k", metavar="TYPE", help="type of the keys, if another")
    add("--kv-v", metavar="TYPE", help="type of the values, if another")
    add("--vram", metavar="SIZE", help="memory of the GPU, such as 24G; alone: all must fit there")
    add("--ram", metavar="SIZE", help="memory of the machine, such as 64G; alone: no GPU")
    add(
        "--parallel", type=positive, metavar="N", default=1, help="sequences that share the context"
    )
    add("--ubatch", type=positive, metavar="N", default=512, help="tokens computed at a time")
    add("--table", action="store_true", help="show GiB for several contexts")
    add("--json", action="store_true", help="print all numbers, in bytes, as JSON")


def run(args: argparse.Namespace) -> int:
    """Compute and print."""
    from ggufkit.toolbox.fit import fit

    found = fit(
        args.model,
        params=args.params,
        ladder=args.ladder,
        context=args.context,
        k=args.kv_k or args.kv,
        v=args.kv_v or args.kv,
        vram=args.vram,
        ram=args.ram,
        parallel=args.parallel,
        ubatch=args.ubatch,
    )
    if args.json:
        _print_json(found, with_table=args.table)
    else:
        _show(found, with_table=args.table)
    return int(found.best is None)


def _print_json(found: Fit, *, with_table: bool) -> None:
    from ggufkit.toolbox.fit import table

    result = found.as_dict()
    if with_table:
        placed = [p for row in table(found).values() for p in row]
        result["table"] = [p.as_dict() for p in placed]
    emit(result)


def _show(found: Fit, *, with_table: bool) -> None:
    from ggufkit.cli import render

    render.heading(found.sentence)
    if with_table:
        _show_table(found)
    else:
        _show_rungs(found)
    for note in _notes(found):
        render.note(note)


def _show_rungs(found: Fit) -> None:
    from ggufkit.cli import render

    shown = [_columns_of(placed) for placed in found.placements]
    unused = {
        *(() if found.memory.vram else ("VRAM", "GPU layers")),
        *(() if any(p.need.state for p in found.placements) else ("states",)),
    }
    columns = [title for title in shown[0] if title not in unused] if shown else ["type"]
    rows = [[cells[title] for title in columns] for cells in shown]
    render.table(columns, rows, right=columns[1:-1])


def _columns_of(placed: Placement) -> dict[str, str]:
    from ggufkit.toolbox.fit import gib

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
    from ggufkit.cli import render
    from ggufkit.toolbox.fit import table

    by_context = table(found)
    columns = ("GiB at tokens", *map(str, by_context))
    rows = [
        (placed.need.candidate.name, *(_cell(row[i]) for row in by_context.values()))
        for i, placed in enumerate(found.placements)
    ]
    render.table(columns, rows, right=columns[1:])


def _cell(placed: Placement) -> str:
    from ggufkit.toolbox.fit import gib

    return f"{gib(placed.needed)} {_MARK[placed.where]}"


def _notes(found: Fit) -> list[str]:
    notes = []
    if found.estimated:
        notes.append("An estimate: the sizes are those of a usual dense model.")
    trained = max((p.need.shape.trained_context for p in found.placements), default=0)
    context = max((p.need.options.context for p in found.placements), default=0)
    if trained and context > trained:
        notes.append(f"The model was trained for {trained} tokens.")
    if any(p.need.shape.rough for p in found.placements):
        notes.append("llama.cpp keeps more than is counted here for this architecture.")
    return notes
