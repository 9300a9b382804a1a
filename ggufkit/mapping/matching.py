"""How a checkpoint's tensors are matched with an architecture's weights."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise

from ggufkit.errors import MissingWeightsError, TensorNamesError, UnmappedTensorsError
from ggufkit.mapping.model_header import Renames
from ggufkit.mapping.name_ranges import summarize
from ggufkit.mapping.spec import Architecture, Config, Context, Weight, block_count
from ggufkit.mapping.transforms import Transform

SUFFIXES = (".weight", ".bias")

# What trainers call the heads that they put in the place of lm_head.
_HEADS = ("score.", "v_head.", "value_head.", "classifier.", "qa_outputs.", "regression_head.")

# Buffers that older checkpoints carry along.
IGNORE = ("*.attention.masked_bias", "*.attention.bias", "*.rotary_emb.inv_freq")


@dataclass(frozen=True)
class MappedTensor:
    """A tensor of the GGUF file: its name and how it comes out of the checkpoint."""

    name: str
    sources: tuple[str, ...]
    transform: Transform


def map_tensors(
    architecture: Architecture, names: Iterable[str], context: Context, *, partial: bool = False
) -> list[MappedTensor]:
    """Match a checkpoint's tensors with the architecture's weights.

    Parameters
    ----------
    architecture : Architecture
        What the checkpoint is.
    names : iterable of str
        The checkpoint's tensors, in its order, which the result keeps; a stack of experts has
        the place of the last of its block's experts.
    context : Context
        What transforms depend on.
    partial : bool
        Whether weights may be missing, of an adapter; a stack of experts still has to be whole.

    Raises
    ------
    UnmappedTensorsError
        The checkpoint has tensors that the architecture neither knows nor ignores.
    MissingWeightsError
        The checkpoint lacks weights that the architecture needs.
    """
    matcher = _Matcher(architecture, context)
    found = {name: matcher.find(name) for name in names if not matcher.ignores(name)}
    unknown = [name for name, matches in found.items() if not matches]
    mapped = list(matcher.place(found))
    missing = [*matcher.missing_experts(found)]
    if not partial:
        missing[:0] = matcher.missing(tensor.name for tensor in mapped)
    if unknown or missing:
        raise mismatch(architecture.name, unknown, missing)
    twice = [name for name, n in Counter(tensor.name for tensor in mapped).items() if n > 1]
    if twice:
        raise UnmappedTensorsError(
            f"several of the checkpoint's tensors would become {summarize(twice)}: "
            "it mixes two layouts"
        )
    return mapped


def mismatch(name: str, unmapped: Sequence[str], missing: Sequence[str]) -> TensorNamesError:
    """Return the error that lists tensors an architecture does not know, and those it lacks.

    Parameters
    ----------
    name : str
        The architecture.
    unmapped, missing : sequence of str
        Tensors of the checkpoint, and of the file.
    """
    kind = UnmappedTensorsError if unmapped else MissingWeightsError
    parts, advice = [], []
    if unmapped:
        parts.append(
            f"{name} does not know {len(unmapped)} of the checkpoint's tensors: "
            f"{summarize(unmapped)}"
        )
        heads = [each for each in unmapped if each.startswith(_HEADS)]
        advice.append(
            f"{heads[0]} is the head of a classifier or a reward model, for which llama.cpp's "
            f"{name} has no place."
            if heads
            else "Is config.json the one of these weights?"
        )
    if missing:
        parts.append(
            f"the checkpoint lacks {len(missing)} weights that {name} needs: {summarize(missing)}"
        )
        advice.append("Is a shard missing, or is it an adapter?")
    return kind(f"{'; '.join(parts)}. {' '.join(advice)}", unmapped=unmapped, missing=missing)


def misfits(architecture: Architecture, names: Iterable[str], context: Context) -> int:
    """Return how many names and needed weights an architecture and a checkpoint do not share."""
    matcher = _Matcher(architecture, context)
    found = [matcher.find(name) for name in names if not matcher.ignores(name)]
    present = {match.weight.name for matches in found for match in matches}
    needed = {weight.name for weight in architecture.weights if not weight.optional}
    return sum(not matches for matches in found) + len(needed - present)


def canonical_name(architecture: Architecture, config: Config, name: str) -> str:
    """Return a checkpoint tensor's name without the prefixes of wrapper classes."""
    return _renamed(name, _renames(architecture, config))


def _renames(architecture: Architecture, config: Config) -> Renames:
    given = architecture.rename
    return given(config) if callable(given) else given


def _renamed(name: str, renames: Renames) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


@dataclass(frozen=True)
class _Match:
    """A checkpoint tensor's part in a weight; `expert` is '' where the weight is no stack."""

    weight: Weight
    target: str
    block: str
    expert: str


@dataclass(frozen=True)
class _Matcher:
    """An architecture, indexed by its source names."""

    architecture: Architecture
    context: Context

    @cached_property
    def by_source(self) -> Mapping[tuple[str, bool], Sequence[Weight]]:
        index: dict[tuple[str, bool], list[Weight]] = defaultdict(list)
        for weight in self.architecture.weights:
            index[weight.source, weight.full_name].append(weight)
        return index

    def transform(self, match: _Match) -> Transform:
        return match.weight.transform_to(match.target, self.context)

    @cached_property
    def renames(self) -> Renames:
        return _renames(self.architecture, self.context.config)

    @cached_property
    def ignored(self) -> tuple[str, ...]:
        given = self.architecture.ignore
        return (*IGNORE, *(given(self.context.config) if callable(given) else given))

    def ignores(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.ignored)

    def find(self, name: str) -> list[_Match]:
        """Return what a checkpoint tensor is part of, in the order of the architecture."""
        name = _renamed(name, self.renames)
        suffix = next((s for s in SUFFIXES if name.endswith(s)), "")
        full, block, expert = generalize(name)
        stem = full.removesuffix(suffix)
        hits = [(weight, "") for weight in self.by_source.get((full, True), ())]
        if suffix:
            hits += [(weight, suffix) for weight in self.by_source.get((stem, False), ())]
        return [
            _Match(weight, weight.name.replace("{i}", i) + suffix, i, expert)
            for weight, suffix in hits
            for i in self._blocks_of(weight, block)
        ]

    def _blocks_of(self, weight: Weight, block: str) -> Iterable[str]:
        """Return a source's block; all of the weight's, where its blocks share one source."""
        if block or "{i}" not in weight.name:
            return (block,)
        return map(str, self._blocks(weight))

    def place(self, found: Mapping[str, Sequence[_Match]]) -> Iterator[MappedTensor]:
        """Yield the tensors of the file, in its order.

        A block's stacks are written together, in the order of the architecture, once the last
        of its experts has come.
        """
        left = Counter(m.block for ms in found.values() for m in ms if m.weight.is_stack)
        stacks: dict[str, dict[str, list[tuple[_Match, str]]]] = defaultdict(dict)
        copied: set[str] = set()
        for name, matches in found.items():
            for match in matches:
                if match.target in copied:
                    continue
                if match.weight.allow_duplicates:
                    copied.add(match.target)
                if not match.weight.is_stack:
                    yield MappedTensor(match.target, (name,), self.transform(match))
                    continue
                stacks[match.block].setdefault(match.target, []).append((match, name))
                left[match.block] -= 1
                if not left[match.block]:
                    yield from self._stacks(stacks.pop(match.block).values())

    def _stacks(self, stacks: Iterable[list[tuple[_Match, str]]]) -> Iterator[MappedTensor]:
        order = {weight: place for place, weight in enumerate(self.architecture.weights)}
        for stack in sorted(stacks, key=lambda stack: order[stack[0][0].weight]):
            stack.sort(key=lambda part: int(part[0].expert))
            match = stack[0][0]
            sources = tuple(name for _, name in stack)
            yield MappedTensor(match.target, sources, self.transform(match))

    def missing(self, mapped: Iterable[str]) -> Iterator[str]:
        """Yield the tensors that the model needs and the checkpoint lacks."""
        found = set(mapped)
        for weight in self.architecture.weights:
            if weight.optional:
                continue
            name = weight.name if weight.full_name else f"{weight.name}.weight"
            for block in self._blocks(weight):
                target = name.replace("{i}", str(block))
                if target not in found:
                    yield target

    def _blocks(self, weight: Weight) -> Iterable[int]:
        if weight.in_layers is not None:
            return weight.in_layers(self.context.config)
        return range(block_count(self.context.config)) if "{i}" in weight.name else (0,)

    def missing_experts(self, found: Mapping[str, Sequence[_Match]]) -> Iterator[str]:
        """Yield the stacks that do not consist of all experts."""
        stacks: dict[str, set[int]] = defaultdict(set)
        counts: dict[str, int] = {}
        for matches in found.values():
            for match in matches:
                if match.weight.is_stack:
                    stacks[match.target].add(int(match.expert))
                    counts[match.target] = match.weight.stack_size(self.context.config)
        for target, present in stacks.items():
            odd = _odd(sorted(present), counts[target])
            if odd:
                experts = "expert" if odd.isdecimal() else "experts"
                yield f"{target} ({experts} {odd} of {counts[target]})"


def _odd(present: Sequence[int], count: int) -> str:
    """Return the numbers below `count` that are missing, and those above it that are present.

    The time depends on the numbers that are present, not on a count that a config claims.
    """
    inside = [-1, *(number for number in present if number < count), count]
    gaps = [(a + 1, b - 1) for a, b in pairwise(inside) if b - a > 1]
    spans = [*gaps, *((number, number) for number in present if number >= count)]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


def generalize(name: str) -> tuple[str, str, str]:
    """Return a name with its block as ``{i}`` and its expert as ``{e}``, and the two."""
    parts = name.split(".")
    places = [index for index, part in enumerate(parts) if part.isdecimal() and part.isascii()]
    numbers = [parts[index] for index in places[:2]]
    for index, mark in zip(places, ("{i}", "{e}"), strict=False):
        parts[index] = mark
    block, expert = (*numbers, "", "")[:2]
    return ".".join(parts), block, expert
