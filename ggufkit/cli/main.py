"""``ggufkit``: find the command, run it, turn errors into one line and an exit code.

Exit codes: 0 done, 1 a check found differences, 2 usage, 3 a `GGUFKitError` or a refusal of the
machine's, 70 a bug in ggufkit, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli.arguments import CommandParser, Parser, UsageError
from ggufkit.cli.json_output import emit
from ggufkit.cli.render import plain
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


BUG = 70  # EX_SOFTWARE of sysexits.h

# What to do about it, where the machine refuses.
_ADVICE = {
    errno.EMFILE: "allow more open files, as with `ulimit -n 1024`",
    errno.ENFILE: "the machine has too many open files",
    errno.ENOMEM: "there is not enough memory: use fewer --jobs, or close other programs",
    errno.ENOSPC: "there is no space left: free some, or choose another place",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; nothing but SystemExit leaves it."""
    words = list(sys.argv[1:] if argv is None else argv)
    _keep_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # the reader went away, as in `| head`
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return _failed(words, 130, "interrupted")
    except GGUFKitError as error:
        return _failed(words, 3, _with_advice(error), error.as_dict())
    except OSError as error:
        return _failed(words, 3, _with_advice(error), {"error": type(error).__name__})
    except MemoryError:
        return _failed(words, 3, _ADVICE[errno.ENOMEM], {"error": "MemoryError"})
    except Exception as error:
        if os.environ.get("GGUFKIT_DEBUG"):
            raise
        what = f"a bug in ggufkit: {type(error).__name__}: {error}"
        report = "please report it, with the traceback that GGUFKIT_DEBUG=1 ggufkit ... shows"
        return _failed(words, BUG, f"{what}; {report}", {"error": type(error).__name__})


def _failed(
    words: Sequence[str], code: int, message: str, facts: dict[str, Any] | None = None
) -> int:
    """Say in one line why the command failed, with ``--json`` as JSON too; return the code."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"ggufkit: {shown(message)}\n")
    try:
        if facts is not None and "--json" in words:
            emit({"message": message, **facts})
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()
    return code


def shown(message: str) -> str:
    """Escape what is not printable, but for line ends."""
    return "\n".join(plain(line) for line in message.split("\n"))


def _with_advice(error: BaseException) -> str:
    """Return an error's message, with what to do where the machine is the reason."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    cause: BaseException | None = error
    while cause is not None and not getattr(cause, "errno", None):
        cause = cause.__cause__ or cause.__context__
    advice = _ADVICE.get(getattr(cause, "errno", 0))
    return f"{text}; {advice}" if advice else text


def _keep_streams() -> None:
    """Open what was closed, so that no file takes the number of standard output or error."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)


def _drop_output() -> None:
    """Keep the interpreter from complaining, at exit, about output that can't be written."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: Sequence[str]) -> int:
    parser = build_parser()
    if not words:
        parser.print_help()
        return 0
    try:
        args = parser.parse_args(words)
    except SystemExit:
        sys.stdout.flush()  # a help text, too, may not be lost
        raise
    try:
        return int(args.run(args))
    except UsageError as error:
        command: CommandParser = args.parser
        command.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
