"""Rewrite a GGUF file: version 2 becomes version 3, split models become one file.

Tensors are copied byte for byte, by the file system where possible. FILE may be any part of a
split model.
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
    add("out", type=Path, metavar="OUT", help="file to write")
    add_count(parser, "--alignment", text="alignment of tensor data in bytes, a power of two")
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.toolbox.copy import copy

    return run_copy(args, copy, alignment=args.alignment)
