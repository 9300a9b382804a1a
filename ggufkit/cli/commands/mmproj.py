"""Convert the vision encoder and projector of a checkpoint to a GGUF file for llama.cpp's --mmproj.

SOURCE is a folder with a Hugging Face checkpoint, or a Hub repository (owner/name). Use
'ggufkit convert' for the language model of the same checkpoint.
"""

from __future__ import annotations

import argparse

from ggufkit.cli import converting
from ggufkit.cli.arguments import CommandParser, add_shared


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint folder, or owner/name on the Hub")
    converting.add_out(parser, "folder, or a file ending in .gguf")
    converting.add_outtype(parser, "f16")
    add_shared(parser, "--name", "--revision")
    converting.add_streaming(parser)
    converting.add_execution(parser)
    converting.add_publishing(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.converter.ladder import plan_ladder
    from ggufkit.converter.sources.mmproj import MmprojSource

    source = MmprojSource.open(
        args.source,
        outtype=args.outtype,
        revision=args.revision,
        name=args.name,
        stream=args.stream,
        cache_bytes=converting.cache_bytes(args, streamed=args.stream),
    )
    plan = plan_ladder(source, converting.default_folder(args))
    fields = {"projector": source.projector, "tensors": len(source.tensors)}
    facts = {
        "projector": source.projector,
        "n_tensors": len(source.tensors),
        "n_bytes": plan.rungs[0].n_bytes,
    }
    converting.write_file(args, plan, facts, fields)
    return 0
