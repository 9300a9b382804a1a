"""What the commands that convert have in common: options, execution, publishing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_shared, refuse

if TYPE_CHECKING:
    from ggufkit.converter.ladder import Ladder
    from ggufkit.converter.planning.plan import Plan
    from ggufkit.converter.planning.resources import ResourceEstimate

OUTTYPES = ("f32", "f16", "bf16", "q8_0")


def add_out(parser: argparse.ArgumentParser, text: str) -> None:
    """Declare where files go, and that a run may only be planned."""
    add = parser.add_argument
    add("-o", "--out", metavar="OUT", help=text)
    add("--dry-run", action="store_true", help="show exact sizes and types, then stop")
    add("--json", action="store_true", help="print the plan or the result as JSON")
    add("--force", action="store_true", help="replace files that this command did not write")


def add_execution(parser: CommandParser) -> None:
    """Declare how weights are read, encoded and measured."""
    add = parser.add_argument
    add_shared(parser, "--jobs")
    add(
        "--executor",
        default="threads",
        metavar="NAME",
        help="threads, processes, or dask:tcp://HOST:8786 for a Dask cluster whose workers share "
        "these folders; default: %(default)s",
    )
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="write the errors of every tensor to a JSON file",
    )
    add_shared(parser, "--quiet")
    parser.declare("--report", conflicts="--dry-run")


def add_publishing(parser: CommandParser) -> None:
    """Declare the options for the Hub as the target."""
    add = parser.add_argument_group("publishing on the Hub").add_argument
    add(
        "--push",
        metavar="OWNER/NAME",
        help="upload each file to this repository when it is complete, then delete it here; with "
        "splits, the disk holds one part per type; the model card comes last",
    )
    add(
        "--private",
        action="store_true",
        default=None,
        help="create the repository as private (with --push)",
    )
    parser.declare("--private", requires="--push")


def add_streaming(parser: argparse._ActionsContainer) -> None:
    """Declare how weights of a repository are read."""
    add = parser.add_argument
    add(
        "--stream",
        action="store_true",
        help="read each weight once from the Hub by byte ranges instead of downloading the files; "
        "the disk holds only the result",
    )
    add(
        "--cache",
        default="256M",
        metavar="SIZE",
        help="with --stream: memory for fetched bytes that are needed again, such as those of "
        "transposed and packed weights; default: %(default)s",
    )


def add_outtype(parser: argparse.ArgumentParser, default: str) -> None:
    """Declare the type of matrices, where it is not chosen by a ladder."""
    text = "type of the matrices; default: %(default)s"
    parser.add_argument("--outtype", choices=OUTTYPES, default=default, help=text)


def add_metadata(parser: argparse._ActionsContainer) -> None:
    """Declare what changes the metadata of a checkpoint's file."""
    add = parser.add_argument
    add("--pre", metavar="NAME", help="pre-tokenizer, if it is not detected")
    add(
        "--no-self-test",
        action="store_true",
        help="do not test the file's tokenizer against the original",
    )
    add_shared(parser, "--name")
    add(
        "--generic",
        nargs="?",
        const=True,
        default=False,
        metavar="NAME",
        help="convert an unknown class by gguf-py's table of tensor names, unverified; NAME is its "
        "general.architecture, if config.json does not tell; put it after SOURCE",
    )
    add(
        "--architecture",
        type=Path,
        metavar="FILE.py",
        help="use the Architecture that a Python file defines; its code is executed",
    )


def cache_bytes(args: argparse.Namespace, *, streamed: bool) -> int:
    """Return the size that ``--cache`` gives, which only sources on the web may have."""
    from ggufkit.gguf.split import parse_size

    if not streamed:
        refuse(args, "without --stream", "--cache")
    return 0 if args.cache == "0" else parse_size(args.cache)


def default_folder(args: argparse.Namespace) -> str:
    """Return where the files of a source go."""
    return args.out or f"{Path(args.source).stem}-GGUF"


def carry_out(
    args: argparse.Namespace, plan: Plan, needs: ResourceEstimate | None = None
) -> tuple[Ladder, str | None]:
    """Execute a plan with a progress bar, and publish its files if that is wanted.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_out` and `add_publishing`, and of `add_execution` if there are
        weights.
    plan : Plan
        What is written.
    needs : ResourceEstimate, optional
        To be announced before the start.

    Returns
    -------
    (Ladder, str or None)
        The result, and the repository's address.
    """
    from ggufkit.cli import convert_output
    from ggufkit.converter.execution.executors import open_executor
    from ggufkit.converter.ladder import run_plan

    if needs is not None and not args.quiet:
        convert_output.announce(needs)
    options: dict[str, Any] = {"force": args.force}
    total = sum(target.n_bytes for rung in plan.rungs for target in rung.targets.values())
    running = open_executor(args.executor, args.jobs) if total else nullcontext((None, None))
    with (
        running as (executor, jobs),
        render.progress(
            total, convert_output.label(plan), enabled=bool(total) and not args.quiet
        ) as advance,
    ):
        options |= {"executor": executor, "jobs": jobs, "progress": advance}
        done, url = (
            _publish(plan, args, options) if args.push else (run_plan(plan, **options), None)
        )
    if total and args.report:
        convert_output.write_report(done, args.report)
    return done, url


def _publish(plan: Plan, args: argparse.Namespace, options: dict[str, Any]) -> tuple[Ladder, str]:
    from ggufkit.cli.commands.push import no_bars
    from ggufkit.publish.hub.session import publish

    no_bars()  # there is one already
    return publish(plan, args.push, private=args.private, **options)


def write_file(
    args: argparse.Namespace,
    plan: Plan,
    facts: Mapping[str, Any],
    fields: Mapping[str, object],
    notes: Sequence[str] = (),
) -> None:
    """Execute the plan of a single file, unless it is a dry run, and show the file.

    Parameters
    ----------
    args, plan
        As for `carry_out`.
    facts : mapping
        What is printed as JSON, with the path.
    fields : mapping
        The same for people, with the path and the size.
    notes : sequence of str
        What follows for people.
    """
    from ggufkit.cli.json_output import emit

    (part,) = plan.parts
    done, url = (None, None) if args.dry_run else carry_out(args, plan)
    if args.json:
        emit({"path": str(part.path), **facts, **({} if url is None else {"url": url})})
        return
    render.heading(str(part.path))
    size = render.size(part.layout.file_size)
    render.fields([("size", size), *((name, str(value)) for name, value in fields.items())])
    for note in (*notes, *(["Complete already."] if done is not None and done.done_before else [])):
        render.note(note)
    if url is not None:
        render.heading(url)
