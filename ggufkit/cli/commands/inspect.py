"""Show the contents of a GGUF file: the model, its size, its tensor types, the metadata.

FILE may be any part of a split model; all parts are read as one. hf:owner/name/FILE and https
URLs are read by byte ranges; hf:owner/name lists the GGUF files of a repository as a ladder.
Only the header of each file is read; weights are read only for --stats.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from ggufkit.cli import inspect_header, inspect_vocabulary, inspect_weights, render
from ggufkit.cli.arguments import CommandParser, add_shared, refuse
from ggufkit.cli.header_summary import as_json
from ggufkit.cli.inspect_repository import show_repository
from ggufkit.cli.json_output import emit
from ggufkit.gguf.open import open_gguf
from ggufkit.io.http_ranges import HUB_NAME

if TYPE_CHECKING:
    from ggufkit.gguf.model import GGUFModel


#: Options about the header, which has no part of its own for the chat template and tokens.
_HEADER = ("--tensors", "--filter")
_READ_BY_FILES = (*_HEADER, "--chat-template", "--vocab", "--stats", "--lenient")


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", metavar="FILE", help="GGUF file, hf:owner/name[/FILE][@REVISION] or URL")
    add("--tensors", action="store_true", help="list every tensor")
    add(
        "--filter",
        metavar="REGEX",
        type=_pattern,
        help="show only metadata keys and tensors whose name matches somewhere",
    )
    add("--chat-template", action="store_true", help="show only the chat template")
    add("--vocab", metavar="TEXT", help="show the tokens that contain a text, or have that id")
    add("--stats", action="store_true", help="decode the weights and show statistics of them")
    add_shared(parser, "--json", "--jobs", "--quiet")
    add(
        "--lenient",
        action="store_true",
        help="accept what the format forbids but llama.cpp reads, such as text that is not UTF-8",
    )
    parser.declare("--jobs", "--quiet", requires="--stats")
    parser.declare("--vocab", "--stats", *_HEADER, conflicts="--chat-template")
    parser.declare("--stats", *_HEADER, conflicts="--vocab")
    parser.declare("--tensors", conflicts="--stats")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None


def run(args: argparse.Namespace) -> int:
    """Open the file and print."""
    if args.file.endswith(".dat"):
        from ggufkit.cli.inspect_imatrix import show

        refuse(args, "on an importance matrix in the legacy format", *_READ_BY_FILES)
        return show(args.file, as_json=args.json)
    match = HUB_NAME.fullmatch(args.file)
    if match and not match["file"]:
        refuse(args, "on a repository", *_READ_BY_FILES)
        return show_repository(match["repo"], match["revision"], as_json=args.json)
    with open_gguf(args.file, strict=not args.lenient) as file:
        _show(args, file)
    sys.stdout.flush()
    return 0


def _show(args: argparse.Namespace, file: GGUFModel) -> None:
    def wanted(name: str) -> bool:
        return args.filter is None or args.filter.search(name) is not None

    if args.chat_template:
        inspect_vocabulary.show_template(file.metadata, as_json=args.json)
    elif args.vocab is not None:
        inspect_vocabulary.show_tokens(file.metadata, args.vocab, as_json=args.json)
    elif args.stats:
        inspect_weights.show_stats(file, wanted, args.jobs, as_json=args.json, quiet=args.quiet)
    elif args.json:
        emit(as_json(file, wanted))
    else:
        inspect_header.show_header(
            file, wanted, tensors=args.tensors, everything=args.filter is None
        )
        _warn_of_journals(file)


def _warn_of_journals(file: GGUFModel) -> None:
    """Say that an edit was interrupted: what was read may be half of it."""
    from ggufkit.toolbox.header_journal import journal_path

    for part in file.parts:
        if isinstance(part.path, Path) and journal_path(part.path).exists():
            render.note(
                f"{part.path.name}: an edit was interrupted; 'ggufkit edit "
                f"{quote(str(part.path))}' finishes it"
            )
