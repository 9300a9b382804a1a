"""Write a GGUF file anew: version 2 becomes 3, and it gets the alignment that you want.

Tensors are copied byte for byte, by the file system where it can. IN may be any part of a split
model, which becomes one file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.arguments import add_output, positive
from ggufkit.cli.model_files import run_copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="IN", help="a GGUF file, or any part of a split one")
    add("out", type=Path, metavar="OUT", help="the file to write")
    add("--alignment", type=positive, metavar="N", help="of the new file, such as 64")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.toolbox.endian import copy

    return run_copy(args, copy, alignment=args.alignment)
