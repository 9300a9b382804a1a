"""Make a Hugging Face checkpoint from a GGUF file: safetensors, config.json and tokenizer.

FILE is a GGUF file, or any part of a split one, of an architecture that 'ggufkit convert' knows.
Quantized weights are dequantized. A checkpoint that was converted to F32 comes back exactly.

Before anything is written, the recovered config.json is converted forwards again: each key that
describes the model must come out as it is in the file. What the tokenizer files can't express is
listed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_output, add_shared
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.export.plan import ExportPlan


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", metavar="FILE", type=Path, help="GGUF file, or any part of a split one")
    add("out", metavar="OUT", nargs="?", type=Path, help="folder; default: FILE's name with -HF")
    add(
        "--dtype",
        choices=("auto", "bf16", "f16", "f32"),
        default="auto",
        help="type of the weights; auto takes the smallest that holds them exactly; default: "
        "%(default)s",
    )
    add(
        "--max-shard-size",
        default="5G",
        metavar="N(K|M|G)",
        help="maximum size of a file of weights; default: %(default)s",
    )
    add("--lenient", action="store_true", help="only warn about keys that come out differently")
    add_shared(parser, "--jobs")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the checkpoint."""
    from ggufkit.export.plan import plan_export
    from ggufkit.export.write import check_out, run_export
    from ggufkit.gguf.split import parse_size

    out = args.out or Path(f"{args.file.stem}-HF")
    if not args.dry_run:
        check_out(out, force=args.force)
    with render.progress(_n_weights(args.file), "reading", enabled=not args.quiet) as advance:
        plan = plan_export(
            args.file,
            out,
            dtype=args.dtype,
            max_shard_size=parse_size(args.max_shard_size),
            lenient=args.lenient,
            jobs=args.jobs,
            progress=advance,
        )
    if not args.dry_run:
        with render.progress(plan.n_bytes, "writing", enabled=not args.quiet) as advance:
            run_export(plan, force=args.force, jobs=args.jobs, progress=advance)
    _show(plan, as_json=args.json)
    return 0


def _n_weights(path: Path) -> int:
    from math import prod

    from ggufkit.gguf.open import open_gguf

    with open_gguf(path) as file:
        return sum(prod(info.shape) for info in file.tensors.values())


def _show(plan: ExportPlan, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "path": str(plan.out),
            "class": plan.config["architectures"][0],
            "dtype": plan.dtype,
            "n_tensors": sum(len(shard.tensors) for shard in plan.shards),
            "n_bytes": plan.n_bytes,
            "weights": {shard.name: shard.n_bytes for shard in plan.shards},
            "files": ["config.json", *plan.files],
            "notes": list(plan.notes),
        }
        emit(facts)
        return
    columns = ("class", "dtype", "tensors", "files of weights", "size", "folder")
    row = (
        plan.config["architectures"][0],
        plan.dtype,
        str(sum(len(shard.tensors) for shard in plan.shards)),
        str(len(plan.shards)),
        render.size(plan.n_bytes),
        str(plan.out),
    )
    render.table(columns, [row], right=columns[2:5])
    for note in plan.notes:
        render.note(f"Note: {note}.")
