"""Say which file type to take: the one that fits and loses least.

MODEL is what 'ggufkit fit' takes: a GGUF file, a folder of them, a checkpoint or a repository; or
--params 8B for any model of that size. Memory is what --vram and --ram say, or this machine's.
What a type costs is measured with 'ggufkit try --text FILE --json > quality.json' and --quality
quality.json; without it, llama.cpp's figures for Llama 3 8B stand in. Exit code 0: something fits,
1: nothing does.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.arguments import positive
from ggufkit.cli.json_output import emit

# What people choose from; other types are rarely the answer.
LADDER = "Q2_K,Q3_K_M,Q4_K_M,Q5_K_M,Q6_K,Q8_0,F16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL", nargs="?", help="a GGUF file, a folder of them, a checkpoint")
    add("--params", metavar="N", help="instead: a usual dense model of N weights, such as 8B")
    add("--ladder", metavar="L", help=f"types to choose from; default: {LADDER}, or the files")
    add("-c", "--context", type=positive, metavar="N", help="tokens; default: 8192 at most")
    add("--kv", metavar="TYPE", default="f16", help="KV cache: f16, q8_0, q4_0, ...")
    add("--vram", metavar="SIZE", help="memory of the GPU, such as 24G; alone: all must fit there")
    add("--ram", metavar="SIZE", help="memory of the machine, such as 64G; alone: no GPU")
    add("--quality", type=Path, metavar="FILE", help="what 'ggufkit try --text --json' measured")
    add("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Plan, choose and show."""
    from ggufkit.cli import render
    from ggufkit.publish.recommend import read_quality, recommend
    from ggufkit.toolbox.fit import fit, gib

    found = fit(
        args.model,
        params=args.params,
        ladder=args.ladder or _default_ladder(args.model),
        context=args.context,
        k=args.kv,
        v=args.kv,
        vram=args.vram,
        ram=args.ram,
    )
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


def _default_ladder(model: str | None) -> str | None:
    """Return what to choose from; files that are there are taken as they are."""
    if model is None:
        return LADDER
    path = Path(model)
    is_files = path.suffix == ".gguf" or (path.is_dir() and not (path / "config.json").exists())
    return None if is_files or model.startswith(("hf:", "http")) else LADDER
