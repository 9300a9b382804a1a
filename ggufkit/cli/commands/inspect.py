"""Show what is in a GGUF file: the model, its size, the mix of tensor types, the metadata.

FILE may be any part of a split model; all parts are read as one. hf:OWNER/NAME/FILE and https
addresses are read by byte ranges; hf:OWNER/NAME lists the GGUF files of a repository as a ladder.
Only the head of each file is read, the weights only for --stats.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli.arguments import positive
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.gguf.model import GGUFModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", metavar="FILE", help="a GGUF file, hf:OWNER/NAME[/FILE][@REVISION] or a URL")
    add("--tensors", action="store_true", help="list every tensor")
    add(
        "--filter",
        metavar="REGEX",
        type=_pattern,
        help="only metadata keys and tensors whose name matches somewhere",
    )
    add("--chat-template", action="store_true", help="show the chat template, and nothing else")
    add("--vocab", metavar="TEXT", help="show the tokens that contain a text, or have that number")
    add("--stats", action="store_true", help="decode the weights and show what they are like")
    add("-j", "--jobs", type=positive, metavar="N", help="threads of --stats; default: one per CPU")
    add("--json", action="store_true", help="print everything, nothing shortened, as JSON")
    add(
        "--lenient",
        action="store_true",
        help="read what the format forbids but llama.cpp reads, such as text that is not UTF-8",
    )
    add("-q", "--quiet", action="store_true", help="no progress bar")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {error}") from None


def run(args: argparse.Namespace) -> int:
    """Open the file and print."""
    from ggufkit.gguf.open import open_gguf
    from ggufkit.io.http_ranges import HUB_NAME

    if args.file.endswith(".dat"):
        from ggufkit.cli.inspect_imatrix import show

        return show(args.file, as_json=args.json)
    match = HUB_NAME.fullmatch(args.file)
    if match and not match["file"]:
        from ggufkit.cli.inspect_repository import show_repository

        return show_repository(match["repo"], match["revision"], as_json=args.json)
    with open_gguf(args.file, strict=not args.lenient) as file:
        _show(args, file)
    sys.stdout.flush()
    return 0


def _show(args: argparse.Namespace, file: GGUFModel) -> None:
    from ggufkit.cli import inspect_header, inspect_vocabulary, inspect_weights
    from ggufkit.cli.header_summary import as_json

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
    from ggufkit.cli import render
    from ggufkit.toolbox.header_journal import journal_path

    for part in file.parts:
        if isinstance(part.path, Path) and journal_path(part.path).exists():
            render.note(
                f"{part.path.name}: an edit was interrupted; 'ggufkit edit {part.path}' ends it"
            )
