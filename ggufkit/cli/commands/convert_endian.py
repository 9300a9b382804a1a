"""Write a GGUF file in the other byte order.

Every number in the header and every multi-byte field in the blocks is swapped. llama.cpp reads
only files in the byte order of its machine: big-endian on IBM Z, little-endian nearly everywhere
else.
"""

from __future__ import annotations

import argparse

from ggufkit.cli.arguments import CommandParser, add_output
from ggufkit.cli.model_files import add_files, run_copy


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add_files(parser)
    text = "byte order of the new file"
    parser.add_argument("order", choices=("little", "big"), help=text)
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.toolbox.endian import convert_endian

    return run_copy(args, convert_endian, order=args.order)
