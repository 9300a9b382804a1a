"""Measure how sensitive a model is to errors in each of its parts, for mixes by budget.

One part at a time is quantized to a probe type, and llama.cpp measures how far the model's
predictions of a text change (KL divergence). Give the resulting file to 'ggufkit convert
--sensitivity'. This runs the model over the text about two dozen times, and takes disk space for
two files of its size.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_count, add_shared, tensor_type, text_of
from ggufkit.cli.json_output import emit


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint folder, owner/name on the Hub, or GGUF file")
    add(
        "--text",
        type=Path,
        required=True,
        metavar="FILE",
        help="prose of the kind that the model is for",
    )
    add("-o", "--out", type=Path, metavar="OUT", help="default: NAME.sensitivity.json")
    add("--probe", default="Q4_0", metavar="TYPE", help="probe type; default: %(default)s")
    add_count(parser, "--chunks", default=8, text="chunks of the text")
    add_count(parser, "-c", "--context", default=512, text="tokens of a chunk")
    add("--allow-requantize", action="store_true", help="accept a quantized GGUF file")
    add_shared(parser, "--force", "--json", "--jobs", "--quiet")


def run(args: argparse.Namespace) -> int:
    """Measure, write the file and show it."""
    from ggufkit.converter.ladder import open_source
    from ggufkit.errors import OutputError
    from ggufkit.publish.sensitivity import count_files, learn

    out = args.out or Path(f"{Path(args.source).stem}.sensitivity.json")
    if out.exists() and not args.force:
        raise OutputError(f"{out} exists: replace it with --force, or name another with -o")
    probe = tensor_type(args.probe)
    source = open_source(args.source, allow_requantize=args.allow_requantize)
    total = count_files(source, probe) * args.chunks
    with render.steps("probe", total=total, enabled=not args.quiet) as advance:
        found = learn(
            source,
            text_of(args.text),
            probe=probe,
            n_ctx=args.context,
            n_chunks=args.chunks,
            jobs=args.jobs or os.cpu_count() or 1,
            folder=out.parent,
            progress=advance,
        )
    found.write(out)
    if args.json:
        emit({"path": str(out), "weights": dict(found.weights)})
        return 0
    ordered = sorted(found.weights.items(), key=lambda pair: -pair[1])
    rows = [(group, f"{weight:.3g}") for group, weight in ordered]
    render.heading(str(out))
    render.table(("part", "sensitivity"), rows, right=("sensitivity",))
    return 0
