"""The program: `ggufkit.cli.main.main`, also when it is interrupted while it is loaded."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from ggufkit.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("ggufkit: interrupted\n")
        return 130
