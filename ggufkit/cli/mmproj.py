"""What `ggufkit convert --mmproj` does: the part of a model that sees, as a file of its own."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--mmproj",
        nargs="?",
        const="f16",
        choices=("f32", "f16", "bf16", "q8_0"),
        help="write what sees, as a file for llama.cpp's --mmproj, and no ladder; default type: "
        "%(const)s",
    )


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.cli import render
    from ggufkit.converter.sources.mmproj import plan_mmproj, write_mmproj

    plan = plan_mmproj(
        args.source,
        args.out or f"{Path(args.source).stem}-GGUF",
        outtype=args.mmproj,
        revision=args.revision,
        name=args.name,
        stream=args.stream,
    )
    if not args.dry_run:
        write_mmproj(plan, force=args.force)
    n_tensors, n_bytes = len(plan.layout.tensors), plan.layout.file_size
    if args.json:
        facts = {
            "path": str(plan.path),
            "projector": plan.projector,
            "n_tensors": n_tensors,
            "n_bytes": n_bytes,
        }
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return 0
    columns = ("projector", "tensors", "bytes", "file")
    row = (plan.projector, str(n_tensors), str(n_bytes), str(plan.path))
    render.table(columns, [row], right=columns[1:3])
    return 0
