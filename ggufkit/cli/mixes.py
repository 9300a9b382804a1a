"""The mixes of `ggufkit convert`: options, the choice, and how it is shown and written down."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggufkit.cli import render
from ggufkit.cli.arguments import CommandParser, add_count
from ggufkit.errors import ConversionError

if TYPE_CHECKING:
    from ggufkit.converter.mix.budget import Budget, MixOptions
    from ggufkit.converter.mix.result import Limit, Mix
    from ggufkit.converter.planning.plan import Plan
    from ggufkit.converter.sources.base import Source
    from ggufkit.types import TensorType

CONTEXT = 8192
_MOST_BITS = 16  # no mix has a tensor of F32


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group(
        "mixes by budget", "choose the type of each tensor for the least loss; see docs/budget.md"
    )
    add = group.add_argument
    many = partial(add, action="append", default=[])
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    many("--budget", metavar="SIZE", help="maximum size of the file: 7.5GiB, or a file type")
    many("--bpw", type=float, metavar="BITS", help="maximum bits per weight")
    many("--fit-vram", metavar="SIZE", help="memory of a GPU that must hold everything")
    text = "with --fit-vram: tokens that must fit, too"
    add_count(group, "--context", default=CONTEXT, text=text)
    add("--mix-types", metavar="TYPES", help="tensor types to choose from")
    many("--min-bits", metavar="ROLE=BITS", help="minimum bits per weight of a role")
    text = "sensitivity of this model to errors, from 'ggufkit sensitivity'"
    add("--sensitivity", **file, help=text)
    many("--recipe", **file, help="use the types of a recipe that a mix wrote")
    many("--tensor-type-file", **file, help="read PATTERN=TYPE words, as for --tensor-type")
    parser.declare("--context", requires="--fit-vram")
    limits = ("--budget", "--bpw", "--fit-vram")
    parser.declare("--mix-types", "--min-bits", "--sensitivity", requires=limits)


def choose(args: argparse.Namespace, source: Source, planning: dict[str, Any]) -> list[Mix]:
    """Measure errors and choose a mix for every limit; nothing if there is no limit."""
    if not (args.budget or args.bpw or args.fit_vram):
        return []
    from concurrent.futures import ThreadPoolExecutor

    from ggufkit.converter.execution.executors import open_executor
    from ggufkit.converter.mix.budget import Budget
    from ggufkit.converter.mix.measure import count_tasks, measure_errors

    budget = Budget.of(source, _options(args), **planning)
    budget.refuse_unused(
        min_bits=[text.partition("=")[0] for text in args.min_bits],
        types=budget.options.types if args.mix_types else (),
    )
    limits = list(_limits(args, budget))
    total = count_tasks(budget.fixed, budget.choices)
    with open_executor(args.executor, args.jobs) as (executor, jobs):
        jobs = jobs or os.cpu_count() or 1
        with (
            ThreadPoolExecutor(jobs) as threads,
            render.steps("measure types", total=total, enabled=not args.quiet) as advance,
        ):
            pool = executor or threads
            errors = measure_errors(
                budget.fixed, budget.choices, pool=pool, jobs=jobs, progress=advance
            )
    return [budget.find(limit, errors) for limit in limits]


def show(mixes: Sequence[Mix], *, as_json: bool) -> None:
    """Say what was chosen and why, by groups of tensors."""
    if as_json:
        return
    for mix in mixes:
        render.heading(f"{mix.recipe.name}: types and loss of each part of the model")
        total = mix.loss or 1.0
        parts = defaultdict(list)
        for name, share in mix.shares.items():
            parts[share.group].append(name)
        rows = [
            (
                group,
                f"{mix.shares[names[0]].sensitivity:.3g}",
                _counted(mix.recipe.types[name].name for name in names),
                f"{sum(mix.shares[name].loss for name in names) / total:.1%}",
            )
            for group, names in parts.items()
        ]
        columns = ("part", "sensitivity", "types", "share of loss")
        render.table(columns, rows, right=(columns[1], columns[3]))
        for line in _verdict(mix):
            render.note(line)


def write(mixes: Sequence[Mix], plan: Plan) -> None:
    """Write the recipe of every mix next to its file, for us and for llama-quantize."""
    from ggufkit.converter.mix.recipe_file import write_recipe, write_tensor_types

    rungs = {rung.name: rung for rung in plan.rungs}
    for mix in mixes:
        path = rungs[mix.recipe.name].parts[0].path
        stem = re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", path.name)
        why = {name: str(share) for name, share in mix.shares.items()}
        write_recipe(mix.recipe, path.with_name(f"{stem}.recipe.json"), why)
        write_tensor_types(mix.recipe, path.with_name(f"{stem}.tensor-types.txt"))


def _counted(types: Iterator[str]) -> str:
    ordered = Counter(types).most_common()
    return " ".join(type_ if n == 1 else f"{n}x{type_}" for type_, n in ordered)


def _verdict(mix: Mix) -> Iterator[str]:
    yield (
        f"Predicted loss {mix.loss:.3g}; no mix of these types within this limit can be below "
        f"{mix.bound:.3g}."
    )
    if mix.nearest_loss is not None:
        yield (
            f"{mix.nearest.name} is the file type closest in size "
            f"({mix.nearest.bits_per_weight:.2f} bpw): predicted loss {mix.nearest_loss:.3g}."
        )


def _options(args: argparse.Namespace) -> MixOptions:
    from ggufkit.cli.arguments import tensor_type
    from ggufkit.converter.mix.budget import MIN_BITS, TYPES, MixOptions
    from ggufkit.converter.mix.sensitivity import DEFAULT, Sensitivity

    min_bits = dict(MIN_BITS)
    for text in args.min_bits:
        role, _, bits = text.partition("=")
        min_bits[role] = _bits(text, bits)
    repeated = Counter(text.partition("=")[0] for text in args.min_bits)
    for role, n in repeated.items():
        if n > 1:
            raise ConversionError(f"--min-bits names {role} {n} times: write it once")
    types: tuple[TensorType, ...] = TYPES
    if args.mix_types:
        types = tuple(tensor_type(name) for name in args.mix_types.split(","))
    sensitivity = Sensitivity.read(args.sensitivity) if args.sensitivity else DEFAULT
    return MixOptions(types, min_bits, sensitivity)


def _bits(text: str, bits: str) -> float:
    try:
        found = float(bits)
    except ValueError:
        found = -1
    if not 0 <= found <= _MOST_BITS:
        raise ConversionError(
            f"--min-bits {text}: expected ROLE=BITS with 0 to {_MOST_BITS} bits, such as output=4"
        )
    return found


def _limits(args: argparse.Namespace, budget: Budget) -> Iterator[Limit]:
    from ggufkit.converter.mix.result import Limit
    from ggufkit.toolbox.fit.budget import vram_limit

    for text in args.budget:
        yield _size_limit(text, budget)
    for bits in args.bpw:
        yield Limit.of_bits(f"MIX_{_word(f'{bits:g}')}BPW", bits)
    for text in args.fit_vram:
        source = budget.fixed.source
        yield vram_limit(f"MIX_{_word(text)}_VRAM", source, text, args.context)


def _size_limit(text: str, budget: Budget) -> Limit:
    from ggufkit.converter.mix.result import Limit
    from ggufkit.errors import BadValueError
    from ggufkit.toolbox.fit.machine import parse_memory

    name = f"MIX_{_word(text)}"
    for rung in budget.fixed.rungs:
        if rung.name == text.upper():
            return Limit.of_bytes(name, rung.n_bytes)
    try:
        return Limit.of_bytes(name, parse_memory(text))
    except BadValueError:
        raise BadValueError(
            f"--budget {text}: expected a size such as 7.5GiB, or a file type such as Q4_K_M"
        ) from None


def _word(text: str) -> str:
    """Return text as a word that file names may end in."""
    return re.sub(r"\W", "_", text, flags=re.ASCII).upper()
