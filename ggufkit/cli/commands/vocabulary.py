"""Convert the tokenizer and metadata of a checkpoint to a GGUF file without weights.

SOURCE is a folder with a Hugging Face checkpoint, or a Hub repository (owner/name). The weights
are not needed and not downloaded. llama.cpp can tokenize with the file.
"""

from __future__ import annotations

import argparse

from ggufkit.cli import convert_output, converting
from ggufkit.cli.arguments import CommandParser, add_shared


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint folder, or owner/name on the Hub")
    converting.add_out(parser, "folder, or a file ending in .gguf")
    add_shared(parser, "--revision")
    converting.add_metadata(parser)
    converting.add_publishing(parser)
    parser.declare("--generic", conflicts="--architecture")


def run(args: argparse.Namespace) -> int:
    """Plan, write and show the file."""
    from ggufkit.converter.ladder import plan_ladder
    from ggufkit.converter.sources.vocabulary import VocabularySource

    source = VocabularySource.open(
        args.source,
        revision=args.revision,
        pre=args.pre,
        name=args.name,
        self_test=not args.no_self_test,
        generic=args.generic,
        architecture=args.architecture,
    )
    plan = plan_ladder(source, converting.default_folder(args))
    metadata = source.base_metadata
    tested = None if source.self_test is None else str(source.self_test)
    facts = {
        "bytes": plan.rungs[0].n_bytes,
        "tokens": len(metadata["tokenizer.ggml.tokens"]),  # type: ignore[arg-type]
        "model": str(metadata.get("tokenizer.ggml.model", "")),
        "pre": str(metadata.get("tokenizer.ggml.pre", "")),
        "self_test": tested,
        "notes": source.origin.get("notes", []),
    }
    fields = {
        "vocabulary": facts["tokens"],
        "tokenizer": facts["model"],
        "pre-tokenizer": facts["pre"],
    }
    converting.write_file(args, plan, facts, fields)
    if not args.json:
        convert_output.doubts(source)
        convert_output.unverified(source.origin)
    return 0
