"""Merge all parts of a split model into one file.

The bytes are those of llama-gguf-split --merge, which keeps the split.* keys with a count of 0.
The parts are left in place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.arguments import CommandParser, add_output
from ggufkit.cli.model_files import run_copy


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="PART", help="any part of a split model")
    add("out", type=Path, metavar="OUT", help="file to write")
    add(
        "--drop-split-keys",
        action="store_true",
        help="leave out the split.* keys, which restores the file as it was before the split",
    )
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.toolbox.merge import merge

    return run_copy(args, merge, drop_split_keys=args.drop_split_keys)
