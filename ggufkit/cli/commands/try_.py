"""Run the rungs of a ladder with llama.cpp: do they load, what do they say, how fast, how good.

LADDER is the folder of a ladder, or GGUF files. Every file gets the same prompt. With --text FILE,
prose of the kind that the model is for, each file's perplexity is measured, and the KL divergence
of its predictions from those of the base: the largest file, or --base. The method is that of
llama-perplexity, with its chunks of 512 tokens.

Exit code 1 if a file can't be loaded.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_count, add_shared, text_of
from ggufkit.cli.json_output import emit

if TYPE_CHECKING:
    from ggufkit.publish.evaluate import Generation, Quality


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("ladder", nargs="+", type=Path, metavar="LADDER", help="folder of a ladder, or GGUF files")
    add(
        "-p",
        "--prompt",
        default="The capital of France is",
        metavar="TEXT",
        help="text to continue; default: %(default)s",
    )
    add_count(parser, "-n", "--tokens", default=8, text="tokens to generate")
    add("--text", type=Path, metavar="FILE", help="measure perplexity and KL divergence on a text")
    add("--base", type=Path, metavar="FILE", help="file to compare with; default: the largest")
    add(
        "--chunks",
        type=int,
        default=8,
        metavar="N",
        help="maximum chunks of the text, 0 for all; default: %(default)s",
    )
    add_count(parser, "-c", "--context", default=512, text="tokens of a chunk")
    add_shared(parser, "--json", "--quiet")
    parser.declare("--base", "--chunks", "--context", "--quiet", requires="--text")


def run(args: argparse.Namespace) -> int:
    """Run the files, measure them, and show both."""
    from ggufkit.errors import LlamaCppError
    from ggufkit.publish.evaluate import engine, generate

    text = text_of(args.text) if args.text else None
    files = _files(args)
    engine()  # is there one?
    said: dict[Path, Generation | None] = {}
    for path in files:
        try:
            said[path] = generate(path, args.prompt, n_predict=args.tokens)
        except LlamaCppError as error:
            sys.stderr.write(f"ggufkit: {error}\n")
            said[path] = None
    loaded = [path for path in files if said[path] is not None]
    quality = _measure(args, loaded, text) if text is not None and loaded else {}
    _show(args, said, quality)
    return int(len(loaded) < len(files))


def _files(args: argparse.Namespace) -> list[Path]:
    from ggufkit.publish.find import ladder_files

    found: list[Path] = []
    for path in args.ladder:
        found += ladder_files(path) if path.is_dir() else [path]
    if args.base is not None:
        found = [args.base, *(path for path in found if path != args.base)]
    return found


def _measure(args: argparse.Namespace, files: list[Path], text: str) -> dict[Path, Quality]:
    from ggufkit.publish.evaluate import measure

    base, *others = files
    options = {"n_ctx": args.context, "n_chunks": args.chunks}
    with render.steps(f"measure {len(files)} files", enabled=not args.quiet) as advance:
        found = measure(base, others, text, **options, progress=advance)
    return dict(zip(files, found, strict=True))


def _show(
    args: argparse.Namespace,
    said: dict[Path, Generation | None],
    quality: dict[Path, Quality],
) -> None:
    if args.json:
        listed = [_as_dict(path, said[path], quality.get(path)) for path in said]
        emit(listed)
        return
    measured = ("perplexity", "KL divergence", "same top") if quality else ()
    columns = ("file", "size", "tokens/s", *measured, "says")
    rows = [
        (
            path.name,
            render.size(path.stat().st_size),
            *_speed_and_quality(said[path], quality.get(path), measured=bool(quality)),
            "does not load" if (found := said[path]) is None else found.text,
        )
        for path in said
    ]
    render.table(columns, rows, right=columns[1:-1])
    if quality:
        base = next(iter(quality))
        n = quality[base].n_tokens
        render.note(f"KL divergence and same top: against {base.name}, over {n} tokens.")


def _speed_and_quality(
    said: Generation | None, quality: Quality | None, *, measured: bool
) -> list[str]:
    speed = said.tokens_per_second if said else None
    cells = ["" if speed is None else f"{speed:.0f}"]
    if measured and quality is not None:
        cells.append(f"{quality.perplexity:.3f}")
        divergence, same = quality.kl_divergence, quality.same_top
        cells.append("base" if divergence is None else f"{divergence:.5f} ± {quality.kl_error:.5f}")
        cells.append("" if same is None else f"{same:.1%}")
    elif measured:
        cells += ["", "", ""]
    return cells


def _as_dict(path: Path, said: Generation | None, quality: Quality | None) -> dict[str, Any]:
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "loads": said is not None,
        **(asdict(said) if said else {}),
        **(asdict(quality) if quality else {}),
    }
