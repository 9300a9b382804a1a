"""List the models that can be converted, and what was verified of each.

QUERY keeps those in whose name, classes or general.architecture it is found; none is an error.
"mmproj" marks models whose part that sees can be converted, too, with convert --mmproj.
"""

from __future__ import annotations

import argparse

from ggufkit.cli.json_output import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("query", nargs="?", default="", metavar="QUERY", help="such as qwen")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from ggufkit.architectures.catalog import EVIDENCE_LEVELS, find_families
    from ggufkit.architectures.multimodal import WRAPPERS

    found = find_families(args.query)
    if args.json:
        facts = {
            "architectures": [family.as_dict() for family in found],
            "wrappers": list(WRAPPERS),
            "evidence": dict(EVIDENCE_LEVELS),
        }
        emit(facts)
        return 0
    from ggufkit.cli import render

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
        render.note(f"Also the language models inside of {', '.join(WRAPPERS)}.")
    return 0
