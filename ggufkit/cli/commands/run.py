"""Run a model with llama.cpp: load it and let it answer, or continue a text.

MODEL is a GGUF file, the folder of a ladder or a repository of the Hub; folder:TYPE and
owner/name:TYPE choose a rung, by default Q4_K_M. A model with a chat template gets the prompt as a
user's message; with --raw it gets the text as it is. The most likely token is taken each time, so
the same file always gives the same answer.

llama.cpp comes with pip install 'ggufkit[run]', or is found on the PATH.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, UsageError, add_count
from ggufkit.cli.json_output import emit


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("model", metavar="MODEL[:TYPE]", help="GGUF file, folder of a ladder, or owner/name")
    add("-p", "--prompt", required=True, metavar="TEXT", help="what to say to the model")
    add_count(parser, "-n", "--tokens", default=128, text="maximum tokens to generate")
    add_count(parser, "-c", "--context", default=2048, text="tokens of context")
    add("--system", metavar="TEXT", help="system message, for models with a chat template")
    add("--raw", action="store_true", help="continue the prompt itself, without a chat template")
    add("--json", action="store_true", help="print text and speed as JSON")
    add("-q", "--quiet", action="store_true", help="print only the text")
    parser.declare("--system", conflicts="--raw")
    parser.declare("--quiet", conflicts="--json")


def run(args: argparse.Namespace) -> int:
    """Find the model and run it."""
    from ggufkit.publish.evaluate import generate
    from ggufkit.publish.find import find_model

    path = find_model(args.model)
    prompt = args.prompt if args.raw else _prompt(path, args.prompt, args.system)
    said = generate(
        path,
        prompt,
        n_predict=args.tokens,
        n_ctx=args.context,
        heard=(lambda _: None) if args.json else _say,
    )
    if args.json:
        facts = {"model": str(path), "prompt": prompt, **asdict(said)}
        emit(facts)
        return 0
    sys.stdout.write("\n")
    if said.tokens_per_second is not None and not args.quiet:
        sys.stderr.write(
            f"{path.name}: loaded in {said.load_seconds:.1f} s, read {said.prompt_per_second:.0f} "
            f"and made {said.tokens_per_second:.0f} tokens a second\n"
        )
    return 0


def _say(piece: str) -> None:
    sys.stdout.write("\n".join(map(render.plain, piece.split("\n"))))
    sys.stdout.flush()


def _prompt(path: Path, prompt: str, system: str | None) -> str:
    """Return the prompt as the model's chat template puts it."""
    from ggufkit.gguf.open import open_gguf
    from ggufkit.publish.llama_cpp.chat import chat_prompt

    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    with open_gguf(path) as model:
        text = chat_prompt(model.metadata, messages)
    if text is None and system:
        raise UsageError("--system needs a model with a chat template")
    return text or prompt
