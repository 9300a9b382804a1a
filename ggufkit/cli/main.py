"""``ggufkit``: find the command, run it, turn errors into one line and an exit code.

Exit codes: 0 done, 1 a check found differences, 2 usage, 3 a `GGUFKitError`, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Protocol

from ggufkit.errors import GGUFKitError
from ggufkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "convert",
    "inspect",
    "compare",
    "diff",
    "fit",
    "hash",
    "verify",
    "split",
    "merge",
    "copy",
    "convert-endian",
    "edit",
    "check",
    "export-hf",
    "lora",
    "sensitivity",
    "recommend",
    "run",
    "try",
    "push",
    "ollama",
    "types",
    "architectures",
    "doctor",
)


class Command(Protocol):
    """What a module of this folder offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


def module_name(command: str) -> str:
    """Return the name of the module of this folder that is a command.

    Examples
    --------
    >>> module_name("convert-endian"), module_name("try")
    ('convert_endian', 'try_')
    """
    return command.replace("-", "_") + ("_" if iskeyword(command) else "")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="ggufkit",
        description="Turn a Hugging Face checkpoint into a ladder of GGUF files, "
        "and look into GGUF files.",
        epilog="'ggufkit COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"ggufkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module: Command = import_module(f"ggufkit.cli.commands.{module_name(name)}")
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        sub.formatter_class = argparse.RawDescriptionHelpFormatter
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except GGUFKitError as error:
        sys.stderr.write(f"ggufkit: {error}\n")
        if getattr(args, "json", False):
            sys.stdout.write(json.dumps(error.as_dict(), default=str) + "\n")
        return 3
    except KeyboardInterrupt:
        sys.stderr.write("ggufkit: interrupted\n")
        return 130
    except BrokenPipeError:
        # The reader went away (as in `| head`): keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
