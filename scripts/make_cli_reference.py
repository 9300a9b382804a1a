"""Write docs/cli.md from the commands' own help; with --check, fail if it is out of date."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["COLUMNS"] = "96"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse

from ggufkit.cli.main import build_parser

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"


def reference() -> str:
    """Return the page."""
    parser = build_parser()
    pages = ["# The command line\n\nMade from `ggufkit COMMAND --help`.\n"]
    pages.append(f"```\n{parser.format_help()}```\n")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                pages.append(f"## ggufkit {name}\n\n```\n{sub.filled().format_help()}```\n")
    return "\n".join(pages)


if __name__ == "__main__":
    text = reference()
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit("docs/cli.md is out of date: run scripts/make_cli_reference.py")
