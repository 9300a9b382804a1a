"""Recommend a file type: the one that fits into memory and loses least.

MODEL is what 'ggufkit fit' takes: a GGUF file, a folder of them, a checkpoint or a repository; or
give --params 8B for any model of that size. Memory is given by --vram and --ram, or is that of
this machine. To use your own measurements of the loss, run 'ggufkit try --text FILE --json >
quality.json' and give --quality quality.json; otherwise llama.cpp's figures for Llama 3 8B are
used. Exit code 0 if a type fits, 1 if none does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit
from ggufkit.cli.memory_arguments import add_memory_arguments, has_files, run_fit

# What people choose from; other types are rarely the answer.
LADDER = "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,Q6_K,Q8_0,F16"


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add_memory_arguments(parser, ladder=f"{LADDER}, or the files")
    parser.add_argument(
        "--quality", type=Path, metavar="FILE", help="results of 'ggufkit try --text --json'"
    )
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Plan, choose and show."""
    from ggufkit.publish.recommend import read_quality, recommend
    from ggufkit.toolbox.fit.fit import gib

    ladder = args.ladder or (None if has_files(args.model) else LADDER)
    found = run_fit(args, ladder=ladder)
    advice = recommend(found, read_quality(args.quality) if args.quality else None)
    if args.json:
        emit(advice.as_dict())
        return int(advice.best is None)
    render.heading(advice.sentence)
    marks = {"gpu": "yes", "ram": "yes", "both": "partly", "nowhere": "no"}
    columns = ("", "type", "needs, GiB", "fits", "KL divergence", "answers")
    rows = [
        (
            "→" if rung is advice.best else "",
            rung.name,
            gib(rung.placement.needed),
            marks[rung.placement.where],
            "" if rung.divergence is None else f"{rung.divergence:.3f}",
            rung.words,
        )
        for rung in advice.rungs
    ]
    render.table(columns, rows, right=columns[2:5])
    if not all(rung.measured for rung in advice.rungs if rung.divergence):
        render.note("KL divergence: llama.cpp's figures for Llama 3 8B; yours may differ.")
    return int(advice.best is None)
