"""Publish a ladder on the Hub, with a model card that says which file to choose.

LADDER is the folder that 'ggufkit convert' made. The repository is created if need be. Files that
it has already, by their SHA-256, are not sent again, so a push that was stopped goes on when the
same command is given again. The card has size, memory need, errors and checksums of every file,
and with --quality what 'ggufkit try --text --json' measured. A card that is there is replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ggufkit.cli.json_output import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("ladder", type=Path, metavar="LADDER", help="folder of a ladder")
    add("repo", metavar="OWNER/NAME", help="the repository")
    add("--private", action="store_true", default=None, help="a new repository is private")
    add("--base-model", metavar="OWNER/NAME", help="the original, if the ladder does not know it")
    add("--quality", type=Path, metavar="FILE", help="what 'ggufkit try --text --json' measured")
    add("--card", type=Path, metavar="FILE", help="write the card to a file, too")
    add("--no-card", action="store_true", help="leave the repository's card as it is")
    add("--dry-run", action="store_true", help="show what would be sent, and stop")
    add("--json", action="store_true", help="print the files as JSON")
    add("-q", "--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Plan, and unless it is a dry run, send."""
    from ggufkit.cli import render
    from ggufkit.publish.hub.model_card import CARD_NAME, LadderFolder, model_card
    from ggufkit.publish.hub.push import plan_push, push
    from ggufkit.publish.recommend import read_quality

    quality = read_quality(args.quality) if args.quality else None
    shelf = LadderFolder.open(args.ladder, quality)
    card = model_card(shelf, args.repo, base_model=args.base_model)
    if args.card:
        args.card.write_text(card, encoding="utf-8")
    uploads = plan_push(shelf, card, args.repo)
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
    words = ("to send", "there") if args.dry_run else ("sent", "there already")
    rows = [(u.name, render.size(u.n_bytes), words[u.present]) for u in uploads]
    render.table(columns, rows, right=("size",))
    if url:
        render.heading(url)
    return 0


def no_bars() -> None:
    """Keep the Hub's client from drawing bars."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
