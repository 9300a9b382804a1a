"""Write a GGUF file in another byte order.

Every number of the header and every field of the blocks that is wider than a byte is turned
around. llama.cpp reads files in the byte order of its machine only: big for IBM Z, little for
nearly all others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.arguments import add_output
from ggufkit.cli.model_files import run_copy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="IN", help="a GGUF file, or any part of a split one")
    add("out", type=Path, metavar="OUT", help="the file to write")
    add("order", choices=("little", "big"), help="byte order of the new file")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.toolbox.endian import convert_endian

    return run_copy(args, convert_endian, order=args.order)
