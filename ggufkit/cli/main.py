"""``ggufkit``: find the command, run it, turn errors into one line and an exit code.

Exit codes: 0 done, 1 a check found differences, 2 usage, 3 a `GGUFKitError`, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING

from ggufkit.cli.arguments import CommandParser, Parser, UsageError
from ggufkit.cli.json_output import emit
from ggufkit.errors import GGUFKitError
from ggufkit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Command -> what its line in the list says. Modules are imported only when they are used.
COMMANDS = {
    "convert": "convert a checkpoint or a GGUF file to a ladder of GGUF files",
    "inspect": "show the contents of a GGUF file, local or on the Hub",
    "compare": "measure the error of GGUF files against their source",
    "diff": "show the differences between two GGUF files",
    "fit": "show which rung fits into memory, and what it needs",
    "hash": "hash files, tensors and weights; check a manifest",
    "verify": "verify a file against its checkpoint or a manifest",
    "split": "split a GGUF file into several",
    "merge": "merge the files of a split model",
    "copy": "rewrite a file as version 3, or with another alignment",
    "convert-endian": "write a file in the other byte order",
    "edit": "change metadata and tensor names",
    "check": "check files for known faults, and fix some",
    "export-hf": "make a Hugging Face checkpoint from a GGUF file",
    "mmproj": "convert the vision encoder of a checkpoint",
    "vocabulary": "convert the tokenizer of a checkpoint, without weights",
    "lora": "convert a LoRA adapter",
    "sensitivity": "measure how sensitive each part of a model is to errors",
    "recommend": "recommend a file type",
    "run": "run a model with llama.cpp",
    "try": "run every rung of a ladder, and measure it on a text",
    "push": "publish a ladder on the Hub",
    "ollama": "import a ladder into Ollama",
    "types": "list the tensor types",
    "architectures": "list the models that can be converted",
    "doctor": "show versions and kernels, and test them",
}


def module_name(command: str) -> str:
    """Return the name of the module of this folder that is a command.

    Examples
    --------
    >>> module_name("convert-endian"), module_name("try")
    ('convert_endian', 'try_')
    """
    return command.replace("-", "_") + ("_" if iskeyword(command) else "")


def build_parser() -> Parser:
    """Build the parser of the whole command line; commands declare their arguments in time."""
    parser = Parser(
        prog="ggufkit",
        description="Turn a Hugging Face checkpoint into a ladder of GGUF files, "
        "and inspect, compare, check and edit GGUF files.",
        epilog="'ggufkit COMMAND --help' explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"ggufkit {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=CommandParser, required=True
    )
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text).fill = partial(_fill, name)
    return parser


def _fill(command: str, parser: CommandParser) -> None:
    module = import_module(f"ggufkit.cli.commands.{module_name(command)}")
    parser.description = module.__doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=module.run, parser=parser)
    module.add_arguments(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = build_parser()
    words = sys.argv[1:] if argv is None else argv
    if not words:
        parser.print_help()
        return 0
    args = parser.parse_args(words)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except UsageError as error:
        command: CommandParser = args.parser
        command.error(str(error))
    except GGUFKitError as error:
        sys.stderr.write(f"ggufkit: {error}\n")
        if getattr(args, "json", False):
            emit(error.as_dict())
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
