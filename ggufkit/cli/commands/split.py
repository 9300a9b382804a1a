"""Split a model into files named OUT-00001-of-0000N.gguf.

The bytes are those of llama-gguf-split. FILE may be a part of a split model, to split it
differently. No file appears before all are complete.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.arguments import CommandParser, add_count, add_output
from ggufkit.cli.model_files import run_copy


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="GGUF file, or any part of a split one")
    add("out", type=Path, metavar="OUT", help="folder and stem of the files to write")
    add("--max-size", metavar="N(K|M|G)", help="maximum tensor data per file, such as 4G")
    text = "maximum tensors per file; default: 128, unless --max-size is given"
    add_count(parser, "--max-tensors", text=text)
    add("--no-tensor-first-split", action="store_true", help="put no tensors into the first file")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the parts."""
    from ggufkit.gguf.split import parse_size
    from ggufkit.toolbox.split import split

    return run_copy(
        args,
        split,
        max_bytes=parse_size(args.max_size) if args.max_size else 0,
        max_tensors=args.max_tensors or 0,
        no_tensor_first=args.no_tensor_first_split,
    )
