"""Convert a LoRA adapter in PEFT's format to a GGUF file that llama.cpp adds to a model.

ADAPTER is a folder with adapter_config.json and adapter_model.safetensors (or .bin), or a Hub
repository (owner/name). Only config.json of the base model is needed. To merge an adapter into
its base model instead, use 'ggufkit convert --merge-lora'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli import converting
from ggufkit.cli.arguments import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="adapter folder, or owner/name on the Hub")
    add(
        "--base",
        metavar="BASE",
        help="base model: checkpoint folder, config.json, or owner/name on the Hub; default: the "
        "one that adapter_config.json names",
    )
    converting.add_out(parser, "folder, or a file ending in .gguf; default: ADAPTER's folder")
    converting.add_outtype(parser, "f32")
    converting.add_execution(parser)
    converting.add_publishing(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.converter.ladder import plan_ladder
    from ggufkit.converter.sources.lora import LoraSource

    source = LoraSource.open(args.adapter, base=args.base, outtype=args.outtype)
    # an adapter of the Hub lies in a cache, where nobody would look for the file
    folder = args.adapter if Path(args.adapter).is_dir() else "."
    plan = plan_ladder(source, args.out or folder)
    ranks = sorted({pair.rank for pair in source.adapter.pairs.values()})
    facts = {
        "architecture": source.architecture,
        "n_weights_adapted": len(source.adapter.pairs),
        "ranks": ranks,
        "alpha": source.alpha,
        "n_tensors": len(source.tensors),
        "n_bytes": plan.rungs[0].n_bytes,
    }
    fields = {
        "architecture": source.architecture,
        "weights": len(source.adapter.pairs),
        "rank": ", ".join(map(str, ranks)),
        "alpha": f"{source.alpha:g}",
    }
    n = len(source.factors)
    notes = [f"{n} weights have another alpha, by which B was multiplied."] if n else []
    converting.write_file(args, plan, facts, fields, notes)
    return 0
