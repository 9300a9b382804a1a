"""Import a ladder into Ollama: into its store, to a running server, or as Modelfiles.

MODEL is the folder that 'ggufkit convert' made, for all its files at once: each becomes a tag such
as q4_k_m, and Q4_K_M also becomes 'latest'. Or it is a single file, FOLDER:Q4_K_M or
owner/name:Q4_K_M. Ollama's template is chosen by comparing its output with that of the model's
chat template, and is left out where none writes the same.

Files are hashed, compared with SHA256SUMS, and linked into the store, which takes no extra disk
space. With --host they are sent to a server instead. A name that is taken by another model is
refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_count, add_shared
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.publish.ollama.plan import NamedFile


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder of a ladder, a file, or FOLDER:TYPE")
    add("--name", metavar="NAME", help="[NAMESPACE/]NAME; default: the name in the file")
    add("--tag", metavar="TAG", help="tag of a single file; default: its file type")
    add("--system", metavar="TEXT", default="", help="system message")
    add_count(parser, "--num-ctx", text="tokens of context")
    add("--adapter", type=Path, metavar="FILE", help="LoRA adapter, as GGUF")
    put = parser.add_mutually_exclusive_group().add_argument
    put(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="store to import into; default: OLLAMA_MODELS, or Ollama's own default",
    )
    put(
        "--host",
        nargs="?",
        const="",
        metavar="URL",
        help="send to a server; default: OLLAMA_HOST, or 127.0.0.1:11434",
    )
    put("--modelfile", action="store_true", help="only print the Modelfile")
    put("-o", "--out", type=Path, metavar="FOLDER", help="only write Modelfiles")
    add("--copy", action="store_true", help="copy files into the store instead of linking them")
    add("--trust-sums", action="store_true", help="do not hash files that SHA256SUMS lists")
    add("--dry-run", action="store_true", help="show names and files, then stop")
    add("--force", action="store_true", help="replace existing models and Modelfiles")
    add_shared(parser, "--json", "--quiet")
    parser.declare("--copy", "--trust-sums", conflicts=("--host", "--modelfile", "--out"))
    parser.declare("--quiet", conflicts=("--modelfile", "--out"))
    unread = ("--name", "--tag", "--dry-run", "--force", "--json")
    parser.declare(*unread, conflicts="--modelfile")


def run(args: argparse.Namespace) -> int:
    """Find the files, and put them where they are wanted."""
    from ggufkit.publish.ollama.model import Wishes
    from ggufkit.publish.ollama.plan import plan_ollama

    wishes = Wishes(args.system, args.num_ctx, args.adapter)
    entries = plan_ollama(args.model, name=args.name, tag=args.tag, wishes=wishes)
    if args.modelfile:
        return _print_modelfiles(entries)
    if args.out:
        done = _write_modelfiles(args, entries)
    elif args.host is not None:
        done = _send(args, entries)
    else:
        done = _store(args, entries)
    return _show(args, entries, done)


def _print_modelfiles(entries: list[NamedFile]) -> int:
    from ggufkit.publish.ollama.modelfile import modelfile

    for index, entry in enumerate(entries):
        text, _ = modelfile(entry.model)
        sys.stdout.write(("\n" if index else "") + text)
    return 0


def _write_modelfiles(args: argparse.Namespace, entries: list[NamedFile]) -> list[str]:
    from ggufkit.publish.ollama.modelfile import write_modelfiles

    if args.dry_run:
        return ["to write"] * len(entries)
    paths = write_modelfiles([(e.model, e.names[0].tag) for e in entries], args.out, args.force)
    return [str(path) for path in paths]


def _store(args: argparse.Namespace, entries: list[NamedFile]) -> list[str]:
    from ggufkit.publish.ollama.names import default_store
    from ggufkit.publish.ollama.store import import_model, is_taken

    store = args.store or default_store()
    if args.dry_run:
        return ["exists" if is_taken(store, entry.names[0]) else "new" for entry in entries]
    total = sum(entry.model.n_bytes for entry in entries)
    with render.progress(total, "hash", enabled=not args.quiet) as advance:
        return [
            import_model(
                store,
                entry.model,
                entry.names,
                force=args.force,
                copy=args.copy,
                trust_sums=args.trust_sums,
                progress=advance,
            )
            for entry in entries
        ]


def _send(args: argparse.Namespace, entries: list[NamedFile]) -> list[str]:
    from ggufkit.publish.ollama.client import connect, refuse_tagged, send

    total = sum(entry.model.n_bytes for entry in entries)
    with (
        render.progress(total, "send", enabled=not args.quiet) as advance,
        connect(args.host, advance) as client,
    ):
        if not args.force:
            refuse_tagged(client, [name for entry in entries for name in entry.names])
        if args.dry_run:
            return ["to send"] * len(entries)
        for entry in entries:
            send(client, entry.model, entry.names)
    return ["sent"] * len(entries)


def _show(args: argparse.Namespace, entries: list[NamedFile], done: list[str]) -> int:
    if args.json:
        facts = [_facts(entry, how) for entry, how in zip(entries, done, strict=True)]
        emit(facts)
        return 0
    rows = [
        (
            ", ".join(str(name) for name in entry.names),
            render.size(entry.model.n_bytes),
            entry.model.template.family or "none",
            how,
        )
        for entry, how in zip(entries, done, strict=True)
    ]
    render.table(("model", "size", "template", "files"), rows, right=("size",))
    for note in dict.fromkeys(note for entry in entries for note in entry.model.notes):
        render.note(note)
    return 0


def _facts(entry: NamedFile, how: str) -> dict[str, Any]:
    model = entry.model
    return {
        "names": [str(name) for name in entry.names],
        "file": os.fspath(model.path),
        "bytes": model.n_bytes,
        "file_type": model.file_type,
        "family": model.template.family or None,
        "template": model.template.text or None,
        "parameters": model.json_parameters,
        "done": how,
        "notes": list(model.notes),
    }
