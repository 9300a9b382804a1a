"""Learn how much a model minds errors in each of its parts, for mixes by budget.

One part at a time is put to a probe type, and llama.cpp measures how far that moves the model's
predictions of a text (KL divergence). The file goes to 'ggufkit convert --sensitivity'. Takes the
time to run the model over the text some two dozen times, and room for two files of its size.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ggufkit.cli.arguments import positive, tensor_type
from ggufkit.cli.json_output import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint folder, owner/name on the Hub, or GGUF file")
    add("--text", type=Path, required=True, metavar="FILE", help="prose of the model's kind")
    add("-o", "--out", type=Path, metavar="FILE", help="default: NAME.sensitivity.json")
    add("--probe", default="Q4_0", metavar="TYPE", help="default: %(default)s")
    add("--chunks", type=positive, default=8, metavar="N", help="chunks; default: %(default)s")
    add("-c", "--context", type=positive, default=512, metavar="N", help="tokens of a chunk")
    add("-j", "--jobs", type=positive, metavar="N", help="threads; default: one per CPU")
    add("--allow-requantize", action="store_true", help="take a GGUF file that is quantized")
    add("--force", action="store_true", help="replace a file that exists")
    add("--json", action="store_true", help="print JSON")
    add("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Measure, write the file and show it."""
    from ggufkit.cli import render
    from ggufkit.converter.ladder import open_source
    from ggufkit.errors import CheckpointError, OutputError
    from ggufkit.publish.sensitivity import count_files, learn

    out = args.out or Path(f"{Path(args.source).stem}.sensitivity.json")
    if out.exists() and not args.force:
        raise OutputError(f"{out} exists: replace it with --force, or name another with -o")
    probe = tensor_type(args.probe)
    try:
        text = args.text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{args.text}: can't be read as text: {error}") from error
    source = open_source(args.source, allow_requantize=args.allow_requantize)
    total = count_files(source, probe) * args.chunks
    with render.steps("probe", total=total, enabled=not args.quiet) as advance:
        found = learn(
            source,
            text,
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
