"""Turn a checkpoint or a GGUF file into a ladder of GGUF files.

SOURCE is a folder with a Hugging Face checkpoint, a Hub repository (owner/name), or a GGUF file
in F32, F16 or BF16. Every weight is read once for all files of the ladder. A run that was
stopped goes on where it was when the same command is given again.

A ladder is one file type (Q4_K_M), a list (Q4_K_M,Q8_0), a range in order of size (Q2_K:Q8_0),
or all. The files' bytes are those of llama.cpp's converter and llama-quantize.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import mixes, mmproj
from ggufkit.cli.arguments import positive, tensor_type
from ggufkit.errors import ConversionError

if TYPE_CHECKING:
    from typing import Any

    from ggufkit.converter.ladder import Ladder
    from ggufkit.converter.planning.plan import Plan
    from ggufkit.converter.planning.planner import SplitLimits
    from ggufkit.converter.planning.type_selection import TypeOptions

HELP = "make GGUF files from a checkpoint or a GGUF file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="checkpoint folder, owner/name on the Hub, or GGUF file")
    add("-o", "--out", metavar="OUT", help="folder, or a file ending in .gguf for a single type")
    add("--ladder", metavar="TYPES", help="file types; default: Q4_K_M, if no mix is asked for")
    add("--dry-run", action="store_true", help="show exact sizes and every tensor's type, and stop")
    add("--json", action="store_true", help="print the plan or the result as JSON")
    add("-j", "--jobs", type=positive, metavar="N", help="threads; default: one per CPU")
    add(
        "--executor",
        default="threads",
        metavar="NAME",
        help="threads, processes, or dask:tcp://HOST:8786 for a Dask cluster whose workers see "
        "the same folders; default: %(default)s",
    )
    mmproj.add_argument(parser)
    add("--vocab-only", action="store_true", help="write metadata without tensors: a vocabulary")
    add("--report", type=Path, metavar="FILE", help="write errors of every tensor to a JSON file")
    add("--force", action="store_true", help="replace files that this ladder did not make")
    add("-q", "--quiet", action="store_true", help="no progress bar")

    group = parser.add_argument_group("the Hub")
    add = group.add_argument
    add(
        "--push",
        metavar="OWNER/NAME",
        help="send each file to this repository when it is whole, and remove it here: with splits, "
        "the disk holds one per type; the model card comes last",
    )
    add("--private", action="store_true", default=None, help="with --push: a new repository is")

    group = parser.add_argument_group("source")
    add = group.add_argument
    add("--revision", metavar="REV", help="branch, tag or commit of a Hub repository")
    add(
        "--stream",
        action="store_true",
        help="leave a repository's weights on the Hub and read each once, by byte ranges: the disk "
        "holds the result and nothing else",
    )
    add(
        "--cache",
        default="256M",
        metavar="SIZE",
        help="with --stream: memory for fetched bytes that may be needed again, as transposed and "
        "packed weights are; default: %(default)s",
    )
    add("--pre", metavar="NAME", help="pre-tokenizer, where the tokenizer does not tell it")
    add("--no-self-test", action="store_true", help="do not compare the tokenizer with the file's")
    add("--name", help="model name, instead of the one from the model card or the folder")
    add(
        "--merge-lora",
        action="append",
        default=[],
        metavar="ADAPTER[=SCALE]",
        help="LoRA adapter, a folder or owner/name, to add to the weights; may be given again",
    )
    add(
        "--generic",
        nargs="?",
        const=True,
        default=False,
        metavar="NAME",
        help="convert a class without an architecture file by gguf-py's table of names, "
        "unverified; NAME is general.architecture, where the config does not tell it; after SOURCE",
    )
    add("--allow-requantize", action="store_true", help="take a GGUF file that is quantized")
    add(
        "--via",
        choices=("f32", "f16", "bf16"),
        help="round weights to this type before quantizing, as an intermediate file does; "
        "default: quantize the source's own values",
    )

    add(
        "--nonfinite",
        choices=("error", "zero", "keep"),
        default="error",
        help="weights that are NaN or infinite: stop; make them 0; keep them, which only F32, "
        "F16 and BF16 can; default: %(default)s",
    )

    group = parser.add_argument_group("tensor types, as in llama-quantize")
    add = group.add_argument
    add("--imatrix", type=Path, metavar="FILE", help="importance matrix (.gguf or .dat)")
    add(
        "--tensor-type",
        action="append",
        default=[],
        metavar="PATTERN=TYPE",
        help="type of the tensors in whose name the pattern is found; may be given again",
    )
    add("--token-embedding-type", metavar="TYPE", help="type of the token embeddings")
    add("--output-tensor-type", metavar="TYPE", help="type of output.weight")
    add("--leave-output-tensor", action="store_true", help="do not quantize output.weight")
    add("--pure", action="store_true", help="the file type's base type for every tensor")

    add(
        "--search",
        choices=("ggml", "thorough"),
        default="ggml",
        help="thorough: a wider, slow search for scales; the same format with 5 to 25 %% less "
        "squared error, but not llama-quantize's bytes; default: %(default)s",
    )

    mixes.add_arguments(parser)

    group = parser.add_argument_group("splits")
    add = group.add_argument
    add("--split-max-size", metavar="N(K|M|G)", help="most tensor data per file, such as 4G")
    add("--split-max-tensors", type=positive, default=0, metavar="N", help="most tensors per file")
    add("--no-tensor-first-split", action="store_true", help="no tensors in the first file")


def run(args: argparse.Namespace) -> int:
    """Plan, and unless it is a dry run, execute."""
    if args.push and (args.vocab_only or args.mmproj):
        raise ConversionError("--push is for ladders: send other files with 'hf upload'")
    if args.vocab_only:
        return _vocabulary(args)
    if args.mmproj:
        return mmproj.run(args)
    from ggufkit.calibration.imatrix import Imatrix
    from ggufkit.cli import render, show
    from ggufkit.converter.execution.executors import open_executor
    from ggufkit.converter.ladder import open_source, plan_ladder, run_plan
    from ggufkit.converter.planning.resources import estimate_resources

    source = open_source(
        args.source,
        revision=args.revision,
        pre=args.pre,
        name=args.name,
        allow_requantize=args.allow_requantize,
        stream=args.stream,
        cache_bytes=_bytes(args.cache),
        self_test=not args.no_self_test,
        merge_lora=args.merge_lora,
        generic=args.generic,
    )
    planning = {
        "via": args.via,
        "imatrix": Imatrix.open(args.imatrix) if args.imatrix else None,
        "options": _type_options(args),
        "split": _split_limits(args),
        "search": args.search,
        "nonfinite": args.nonfinite,
    }
    found = mixes.choose(args, source, planning)
    recipes = [*mixes.read(args), *(mix.recipe for mix in found)]
    ladder = args.ladder or (None if recipes else "Q4_K_M")
    out = args.out or f"{Path(args.source).stem}-GGUF"
    plan = plan_ladder(source, out, ladder, recipes=recipes, **planning)
    mixes.show(found, as_json=args.json)
    needs = estimate_resources(plan, args.jobs, handed_over=bool(args.push))
    if args.dry_run:
        show.plan(plan, needs, as_json=args.json, mixes=found)
        return 0
    if (args.push or args.stream) and not args.quiet:
        show.announce(needs)
    total = sum(target.n_bytes for rung in plan.rungs for target in rung.targets.values())
    with (
        open_executor(args.executor, args.jobs) as (executor, jobs),
        render.progress(total, show.label(plan), enabled=not args.quiet) as advance,
    ):
        options = {"executor": executor, "jobs": jobs, "force": args.force, "progress": advance}
        done, url = (
            _publish(plan, args, options) if args.push else (run_plan(plan, **options), None)
        )
    mixes.write(found, plan)
    if args.report:
        show.write_json(show.errors(done), args.report)
    show.result(done, as_json=args.json, mixes=found, url=url)
    return 0


def _publish(plan: Plan, args: argparse.Namespace, options: dict[str, Any]) -> tuple[Ladder, str]:
    from ggufkit.cli.commands.push import no_bars
    from ggufkit.publish.hub.session import publish

    no_bars()  # there is one already
    return publish(plan, args.push, private=args.private, **options)


def _vocabulary(args: argparse.Namespace) -> int:
    from ggufkit.cli import show
    from ggufkit.converter.sources.vocabulary import plan_vocabulary, write_vocabulary

    vocabulary = plan_vocabulary(
        args.source,
        args.out or f"{Path(args.source).stem}-GGUF",
        revision=args.revision,
        pre=args.pre,
        name=args.name,
        self_test=not args.no_self_test,
        generic=args.generic,
    )
    if not args.dry_run:
        write_vocabulary(vocabulary, force=args.force)
    show.vocabulary(vocabulary, as_json=args.json)
    return 0


def _type_options(args: argparse.Namespace) -> TypeOptions:
    import re

    from ggufkit.converter.planning.type_selection import TypeOptions

    rules = []
    for text in (*args.tensor_type, *mixes.listed_types(args)):
        # as llama-quantize does; no tensor's name has a = in it
        pattern, _, name = text.partition("=")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConversionError(f"--tensor-type {text}: bad pattern: {error}") from None
        if not pattern:
            raise ConversionError(f"--tensor-type {text}: write PATTERN=TYPE")
        rules.append((pattern, tensor_type(name)))
    embedding, output = args.token_embedding_type, args.output_tensor_type
    return TypeOptions(
        token_embedding_type=tensor_type(embedding) if embedding else None,
        output_tensor_type=tensor_type(output) if output else None,
        tensor_type=tuple(rules),
        leave_output_tensor=args.leave_output_tensor,
        pure=args.pure,
    )


def _bytes(text: str) -> int:
    from ggufkit.gguf.split import parse_size

    return 0 if text == "0" else parse_size(text)


def _split_limits(args: argparse.Namespace) -> SplitLimits:
    from ggufkit.converter.planning.planner import SplitLimits
    from ggufkit.gguf.split import parse_size

    return SplitLimits(
        parse_size(args.split_max_size) if args.split_max_size else 0,
        args.split_max_tensors,
        args.no_tensor_first_split,
    )
