"""List the tensor types: how weights can be stored, and what ggufkit can do with each.

bpw is bits per weight, including the block's scales. "with imatrix" marks types that can be
written only with an importance matrix.
"""

from __future__ import annotations

import argparse
from typing import Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    rows = tensor_types()
    if args.json:
        emit(rows)
        return 0

    columns = ("type", "id", "bpw", "weights/block", "bytes/block", "reads", "writes")
    render.table(
        columns,
        [
            (
                row["type"],
                str(row["id"]),
                f"{row['bits_per_weight']:.4g}",
                str(row["block_size"]),
                str(row["type_size"]),
                "yes" if row["decodes"] else "-",
                _writes(row),
            )
            for row in rows
        ],
        right=columns[1:5],
    )
    return 0


def tensor_types() -> list[dict[str, Any]]:
    """Return what is known of every tensor type, in the order of their numbers."""
    from ggufkit.codecs import CODECS
    from ggufkit.types import TensorType

    rows = []
    for tensor_type in sorted(TensorType):
        codec = CODECS.get(tensor_type)
        rows.append(
            {
                "type": tensor_type.name,
                "id": int(tensor_type),
                "bits_per_weight": tensor_type.bits_per_weight,
                "block_size": tensor_type.block_size,
                "type_size": tensor_type.type_size,
                "decodes": codec is not None,
                "encodes": codec is not None and codec.encode is not None,
                "needs_importance": codec is not None and codec.needs_importance,
            }
        )
    return rows


def _writes(row: dict[str, Any]) -> str:
    if not row["encodes"]:
        return "-"
    return "with imatrix" if row["needs_importance"] else "yes"
