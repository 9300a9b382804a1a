"""Change metadata and tensor names of a GGUF file, or remove tensors.

The header is replaced in place if the new one fits, which takes a moment whatever the file's
size; otherwise the file is rewritten. Either way, an interrupted edit leaves all changes or none.
Keys are deleted first, then renamed, then set.

The types of standard keys and of keys in the file are known. Other keys need one:
KEY:TYPE=VALUE, where TYPE is u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool or string, or
TYPE[] with a JSON list as the value.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_output, text_of
from ggufkit.cli.json_output import emit
from ggufkit.cli.metadata_changes import json_keys, metadata_rows
from ggufkit.cli.model_files import left_behind_notes

if TYPE_CHECKING:
    from ggufkit.toolbox.edit import Edit


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="GGUF file; of a split model, the first part")
    add("-o", "--out", type=Path, metavar="OUT", help="write another file and leave FILE unchanged")
    many = partial(add, action="append", default=[])
    many(
        "--set",
        metavar="KEY=VALUE",
        help="set a key; repeatable, as the next six are",
    )
    many("--delete", metavar="KEY", help="delete a key")
    many("--rename", type=_pair, metavar="OLD=NEW", help="rename a key")
    many("--retype", type=_pair, metavar="KEY=TYPE", help="change the type of a key")
    many(
        "--special-token",
        type=_pair,
        metavar="NAME=TOKEN",
        help="set a special token (bos, eos, eot, pad ...) by its text or id",
    )
    many("--rename-tensor", type=_pair, metavar="OLD=NEW", help="rename a tensor")
    many("--drop-tensor", metavar="REGEX", help="remove tensors whose whole name matches")
    add("--chat-template", type=Path, metavar="FILE", help="set the chat template to a file's text")
    add(
        "--reserve",
        type=_natural,
        metavar="BYTES",
        help="reserve room in the header for later edits in place; 0 removes it",
    )
    add(
        "--lenient",
        action="store_true",
        help="accept violations of the format, and copy tensors of unknown types",
    )
    add_output(parser)
    parser.declare("--force", requires="--out")


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r}: expected OLD=NEW")
    return old, new


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def run(args: argparse.Namespace) -> int:
    """Edit and show what changed."""
    from ggufkit.toolbox.edit import edit

    values = {}
    if args.chat_template is not None:
        values["tokenizer.chat_template"] = text_of(args.chat_template)
    quiet = args.quiet or args.dry_run
    total = args.file.stat().st_size if args.file.is_file() else 0
    left_behind = left_behind_notes(args.file) if args.out else []
    with render.progress(total, "edit", enabled=not quiet) as advance:
        done = edit(
            args.file,
            out=args.out,
            values=values,
            assignments=args.set,
            delete=args.delete,
            rename=dict(args.rename),
            retype=dict(args.retype),
            special_tokens=dict(args.special_token),
            rename_tensors=dict(args.rename_tensor),
            drop_tensors=args.drop_tensor,
            reserve=args.reserve,
            lenient=args.lenient,
            dry_run=args.dry_run,
            force=args.force,
            progress=advance,
        )
    for text in left_behind:
        render.remark(text)
    if args.json:
        emit(_as_json(done))
    else:
        _show(done, dry_run=args.dry_run)
    return 0


def _as_json(done: Edit) -> dict[str, object]:
    return {
        "path": str(done.path),
        "how": done.how,
        "metadata": json_keys(done.metadata),
        "renamed_tensors": done.renamed_tensors,
        "dropped_tensors": done.dropped_tensors,
        "n_bytes": done.n_bytes,
        "reserved": done.reserved,
    }


def _show(done: Edit, *, dry_run: bool) -> None:
    from ggufkit.toolbox.edit import RESERVED

    # the last line tells the reserve
    keys = tuple(key for key in done.metadata if key.key != RESERVED)
    if keys:
        render.table(("", "key", "type", "value"), metadata_rows(keys))
    tensors = [(old, new) for old, new in done.renamed_tensors.items()]
    tensors += [(name, "dropped") for name in done.dropped_tensors]
    if tensors:
        render.table(("tensor", "becomes"), tensors)
    would = {"unchanged": "nothing to change", "in place": "would be edited in place"}
    did = {"unchanged": "nothing to change", "in place": "edited in place"}
    how = (would if dry_run else did).get(done.how, "would be written" if dry_run else "written")
    reserved = f", {done.reserved} bytes reserved" if done.reserved else ""
    render.heading(f"{done.path}: {how}, {render.size(done.n_bytes)}{reserved}")
