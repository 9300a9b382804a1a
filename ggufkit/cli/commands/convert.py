"""Convert a checkpoint or a GGUF file to a ladder of GGUF files.

SOURCE is a folder with a Hugging Face checkpoint, a Hub repository (owner/name), or a GGUF file
in F32, F16 or BF16, local or remote (hf:owner/name/file.gguf, https://...). Each weight is read
once for all files of the ladder. To resume an interrupted run, give the same command again.

A ladder is one file type (Q4_K_M), a list (Q4_K_M,Q8_0), a range in order of size (Q2_K:Q8_0),
or all. The files are byte-identical to those of llama.cpp's converter and llama-quantize.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.cli import convert_output, converting, mixes
from ggufkit.cli.arguments import CommandParser, add_count, add_shared, refuse, tensor_type
from ggufkit.cli.commands import mmproj, vocabulary
from ggufkit.errors import ConversionError

if TYPE_CHECKING:
    from ggufkit.converter.planning.planner import SplitLimits
    from ggufkit.converter.planning.type_selection import TypeOptions

#: Option that stands for a command -> that command.
ALIASES = {"--mmproj": mmproj, "--vocab-only": vocabulary}
FOR_CHECKPOINTS = (
    *("--revision", "--stream", "--pre", "--no-self-test", "--name", "--merge-lora", "--generic"),
    *("--architecture", "--via"),
)


def add_arguments(parser: CommandParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="checkpoint folder, owner/name on the Hub, or GGUF file (a path, "
        "hf:owner/name/file.gguf or a URL)",
    )
    converting.add_out(parser, "folder, or a file ending in .gguf for a single type")
    add("--ladder", metavar="TYPES", help="file types; default: Q4_K_M, unless a mix is requested")
    converting.add_execution(parser)
    add(
        "--mmproj",
        nargs="?",
        const="f16",
        choices=converting.OUTTYPES,
        help="write the vision encoder instead, like 'ggufkit mmproj'; default type: %(const)s",
    )
    add(
        "--vocab-only",
        action="store_true",
        help="write metadata without tensors instead, like 'ggufkit vocabulary'",
    )
    converting.add_publishing(parser)
    _add_source(parser)
    _add_types(parser)
    mixes.add_arguments(parser)

    group = parser.add_argument_group("splits")
    add = group.add_argument
    add("--split-max-size", metavar="N(K|M|G)", help="maximum tensor data per file, such as 4G")
    add_count(group, "--split-max-tensors", text="maximum tensors per file")
    add("--no-tensor-first-split", action="store_true", help="put no tensors into the first file")
    parser.declare("--generic", conflicts="--architecture")
    parser.declare("--no-tensor-first-split", requires=("--split-max-size", "--split-max-tensors"))
    for option, command in ALIASES.items():
        parser.declare_alias(option, command.add_arguments)


def _add_source(parser: CommandParser) -> None:
    group = parser.add_argument_group("source")
    add = group.add_argument
    add_shared(group, "--revision")
    converting.add_streaming(group)
    converting.add_metadata(group)
    add(
        "--merge-lora",
        action="append",
        default=[],
        metavar="ADAPTER[=SCALE]",
        help="LoRA adapter (a folder or owner/name) to merge into the weights; may be repeated",
    )
    add("--allow-requantize", action="store_true", help="accept a quantized GGUF file")
    add(
        "--via",
        choices=("f32", "f16", "bf16"),
        help="round weights to this type before quantizing, as with an intermediate file; "
        "default: quantize the original values",
    )
    add(
        "--nonfinite",
        choices=("error", "zero", "keep"),
        default="error",
        help="weights that are NaN or infinite: stop, set them to 0, or keep them (only in F32, "
        "F16 and BF16); default: %(default)s",
    )


def _add_types(parser: CommandParser) -> None:
    add = parser.add_argument_group("tensor types, as in llama-quantize").add_argument
    add("--imatrix", type=Path, metavar="FILE", help="importance matrix (.gguf or .dat)")
    add(
        "--tensor-type",
        action="append",
        default=[],
        metavar="PATTERN=TYPE",
        help="type of the tensors whose names match the pattern somewhere; may be repeated",
    )
    add("--token-embedding-type", metavar="TYPE", help="type of the token embeddings")
    add("--output-tensor-type", metavar="TYPE", help="type of output.weight")
    add("--leave-output-tensor", action="store_true", help="do not quantize output.weight")
    add("--pure", action="store_true", help="use the file type's base type for every tensor")
    add(
        "--search",
        choices=("ggml", "thorough"),
        default="ggml",
        help="search for scales; thorough is wider and slower: the same format with 5 to 25 %% "
        "less squared error, but not llama-quantize's bytes; default: %(default)s",
    )


def run(args: argparse.Namespace) -> int:
    """Plan, and unless it is a dry run, execute."""
    if args.vocab_only:
        return vocabulary.run(args)
    if args.mmproj:
        args.outtype = args.mmproj
        return mmproj.run(args)
    from ggufkit.calibration.imatrix import Imatrix
    from ggufkit.converter.ladder import open_source, plan_ladder
    from ggufkit.converter.mix.recipe_file import read_recipe
    from ggufkit.converter.planning.recipes import DEFAULT_LADDER, parse_ladder
    from ggufkit.converter.planning.resources import estimate_resources
    from ggufkit.io.http_ranges import is_remote

    _refuse_for_source(args)
    if args.ladder is not None:
        parse_ladder(args.ladder)  # a slip is said before anything is opened or measured
    source = open_source(
        args.source,
        revision=args.revision,
        pre=args.pre,
        name=args.name,
        allow_requantize=args.allow_requantize,
        stream=args.stream,
        cache_bytes=converting.cache_bytes(args, streamed=args.stream or is_remote(args.source)),
        self_test=not args.no_self_test,
        merge_lora=args.merge_lora,
        generic=args.generic,
        architecture=args.architecture,
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
    recipes = [*map(read_recipe, args.recipe), *(mix.recipe for mix in found)]
    ladder = args.ladder
    if ladder is None and not recipes:
        ladder = DEFAULT_LADDER
    plan = plan_ladder(source, converting.default_folder(args), ladder, recipes=recipes, **planning)
    mixes.show(found, as_json=args.json)
    needs = estimate_resources(plan, args.jobs, handed_over=bool(args.push))
    if args.dry_run:
        convert_output.plan(plan, needs, as_json=args.json, mixes=found)
        return 0
    is_announced = args.push or source.n_remote
    done, url = converting.carry_out(args, plan, needs if is_announced else None)
    mixes.write(found, plan)
    convert_output.result(done, as_json=args.json, mixes=found, url=url)
    return 0


def _refuse_for_source(args: argparse.Namespace) -> None:
    """Refuse options that the kind of source gives nothing to do."""
    from ggufkit.converter.ladder import is_gguf_name

    if is_gguf_name(args.source):
        refuse(args, "on a GGUF file", *FOR_CHECKPOINTS)
    else:
        refuse(args, "on a checkpoint", "--allow-requantize")


def _type_options(args: argparse.Namespace) -> TypeOptions:
    from ggufkit.converter.mix.recipe_file import read_tensor_types
    from ggufkit.converter.planning.type_selection import TypeOptions

    listed = (word for path in args.tensor_type_file for word in read_tensor_types(path))
    rules = []
    for text in (*args.tensor_type, *listed):
        # as llama-quantize does; no tensor's name has a = in it
        pattern, _, name = text.partition("=")
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConversionError(f"--tensor-type {text}: bad pattern: {error}") from None
        if not pattern:
            raise ConversionError(f"--tensor-type {text}: expected PATTERN=TYPE")
        rules.append((pattern, tensor_type(name)))
    embedding, output = args.token_embedding_type, args.output_tensor_type
    return TypeOptions(
        token_embedding_type=tensor_type(embedding) if embedding else None,
        output_tensor_type=tensor_type(output) if output else None,
        tensor_type=tuple(rules),
        leave_output_tensor=args.leave_output_tensor,
        pure=args.pure,
    )


def _split_limits(args: argparse.Namespace) -> SplitLimits:
    from ggufkit.converter.planning.planner import SplitLimits
    from ggufkit.gguf.split import parse_size

    return SplitLimits(
        parse_size(args.split_max_size) if args.split_max_size else 0,
        args.split_max_tensors or 0,
        args.no_tensor_first_split,
    )
