"""List the models that can be converted, and how each conversion was verified.

QUERY selects models by name, class or general.architecture; a query without a match is an error.
"mmproj" marks models whose vision or audio encoder 'ggufkit mmproj' can convert, too.
"""

from __future__ import annotations

import argparse

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared
from ggufkit.cli.json_output import emit


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "query", nargs="?", default="", metavar="QUERY", help="a name, such as qwen"
    )
    add_shared(parser, "--json")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from ggufkit.architectures.catalog import EVIDENCE_LEVELS, find_families
    from ggufkit.architectures.multimodal import INSIDE

    found = find_families(args.query)
    if args.json:
        facts = {
            "architectures": [family.as_dict() for family in found],
            "wrappers": list(INSIDE),
            "evidence": dict(EVIDENCE_LEVELS),
        }
        emit(facts)
        return 0

    rows = [
        (
            family.architecture.name,
            ", ".join(family.evidence),
            "yes" if family.mmproj else "-",
            f"{family.title}: {', '.join(family.architecture.hf_classes)}",
        )
        for family in found
    ]
    render.table(("architecture", "verified by", "mmproj", "models: classes"), rows, fold=True)
    render.blank()
    shown = {kind for family in found for kind in family.evidence}
    render.fields((kind, what) for kind, what in EVIDENCE_LEVELS.items() if kind in shown)
    if not args.query:
        render.note(
            "Also the language models inside multimodal models, by the architectures of their "
            f"text_config; and inside {', '.join(INSIDE)}."
        )
    return 0
