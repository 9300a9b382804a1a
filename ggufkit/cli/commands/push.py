"""Publish a ladder on the Hub, with a model card that helps to choose a file.

LADDER is a folder that 'ggufkit convert' made. The repository is created if it does not exist.
Files that it already has, by their SHA-256, are not sent again, so the same command resumes an
interrupted push. The card lists size, memory requirements, errors and checksums of every file,
and with --quality the results of 'ggufkit try --text --json'. An existing card is replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared, refuse
from ggufkit.cli.json_output import emit
from ggufkit.io.text import write_text_atomic


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("ladder", type=Path, metavar="LADDER", help="folder of a ladder")
    add("repo", metavar="OWNER/NAME", help="repository")
    add("--private", action="store_true", default=None, help="create the repository as private")
    add("--base-model", metavar="OWNER/NAME", help="original model, if the ladder does not name it")
    add("--quality", type=Path, metavar="FILE", help="results of 'ggufkit try --text --json'")
    add("--card", type=Path, metavar="FILE", help="also write the card to a file")
    add("--no-card", action="store_true", help="leave the repository's card as it is")
    add("--dry-run", action="store_true", help="show what would be sent, then stop")
    add_shared(parser, "--json")
    add("-q", "--quiet", action="store_true", help="show no progress bars")


def run(args: argparse.Namespace) -> int:
    """Plan, and unless it is a dry run, send."""
    from ggufkit.publish.hub.model_card import CARD_NAME, LadderFolder, model_card
    from ggufkit.publish.hub.push import plan_push, push
    from ggufkit.publish.recommend import read_quality

    if args.no_card and not args.card:
        refuse(args, "with --no-card", "--base-model", "--quality")
    quality = read_quality(args.quality) if args.quality else None
    ladder = LadderFolder.open(args.ladder, quality)
    card = model_card(ladder, args.repo, base_model=args.base_model)
    if args.card:
        write_text_atomic(args.card, card)
    uploads = plan_push(ladder, card, args.repo)
    if args.no_card:
        uploads = [upload for upload in uploads if upload.name != CARD_NAME]
    url = None
    if not args.dry_run:
        if args.quiet:
            no_bars()
        url = push(uploads, card, args.repo, private=args.private)
    if args.json:
        facts = [
            {"name": u.name, "bytes": u.n_bytes, "sha256": u.sha256, "present": u.present}
            for u in uploads
        ]
        emit({"url": url, "files": facts})
        return 0
    columns = ("file", "size", "" if args.dry_run else "was")
    words = ("to send", "present") if args.dry_run else ("sent", "already present")
    rows = [(u.name, render.size(u.n_bytes), words[u.present]) for u in uploads]
    render.table(columns, rows, right=("size",))
    if url:
        render.heading(url)
    return 0


def no_bars() -> None:
    """Keep the Hub's client from drawing bars."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
