"""Turn a LoRA adapter of PEFT into a GGUF file that llama.cpp adds to a model.

ADAPTER is a folder with adapter_config.json and adapter_model.safetensors (or .bin), or a Hub
repository (owner/name). Of the base model only config.json is needed. To merge an adapter into
its base instead, see 'ggufkit convert --merge-lora'.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ggufkit.converter.sources.lora import AdapterPlan

HELP = "make a GGUF file from a LoRA adapter"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("adapter", metavar="ADAPTER", help="folder as PEFT saves it, or owner/name on the Hub")
    add(
        "--base",
        metavar="BASE",
        help="the base model: checkpoint folder, config.json, or owner/name on the Hub; default: "
        "what adapter_config.json names",
    )
    add("-o", "--out", metavar="OUT", help="file ending in .gguf, or folder; default: ADAPTER's")
    add(
        "--outtype",
        choices=("f32", "f16", "bf16", "q8_0"),
        default="f32",
        help="type of the matrices; default: %(default)s",
    )
    add("--dry-run", action="store_true", help="show what would be written, and stop")
    add("--force", action="store_true", help="replace a file that exists")
    add("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.converter.sources.lora import plan_adapter, write_adapter

    plan = plan_adapter(args.adapter, base=args.base, out=args.out, outtype=args.outtype)
    if not args.dry_run:
        write_adapter(plan, force=args.force)
    _show(plan, as_json=args.json)
    return 0


def _show(plan: AdapterPlan, *, as_json: bool) -> None:
    from ggufkit.cli import render

    ranks = sorted({pair.rank for pair in plan.adapter.pairs.values()})
    facts = {
        "path": str(plan.path),
        "architecture": plan.architecture,
        "n_weights_adapted": len(plan.adapter.pairs),
        "ranks": ranks,
        "alpha": plan.alpha,
        "n_tensors": len(plan.layout.tensors),
        "n_bytes": plan.layout.file_size,
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=1) + "\n")
        return
    listed = ", ".join(map(str, ranks))
    row = (
        plan.architecture,
        str(len(plan.adapter.pairs)),
        listed,
        f"{plan.alpha:g}",
        render.size(plan.layout.file_size),
        str(plan.path),
    )
    columns = ("architecture", "weights", "rank", "alpha", "size", "file")
    render.table(columns, [row], right=columns[1:5])
    if plan.factors:
        render.note(f"{len(plan.factors)} weights have another alpha, by which B was multiplied.")
