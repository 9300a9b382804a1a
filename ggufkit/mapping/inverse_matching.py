"""Which tensors of a checkpoint the tensors of a GGUF file were made of: `matching`, backwards."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ggufkit.errors import ConversionError, ShapeMismatchError, UnmappedTensorsError
from ggufkit.mapping.composition_inverse import Inverse, invert
from ggufkit.mapping.matching import SUFFIXES, generalize
from ggufkit.mapping.model_header import ModelHeader
from ggufkit.mapping.name_ranges import summarize
from ggufkit.mapping.spec import MAX_COUNT, Architecture, Context, ExportSpec, Weight
from ggufkit.mapping.transforms import Shape

_BLOCK = re.compile(r"(?<=\.)\d{1,5}(?=\.)")


@dataclass(frozen=True)
class CheckpointTensorPlan:
    """A tensor of a checkpoint, and how it comes out of a GGUF file.

    Attributes
    ----------
    name : str
        Its name in the checkpoint.
    parts : tuple of str
        The tensors of the file that it is made of.
    inverse : Inverse
        How.
    """

    name: str
    parts: tuple[str, ...]
    inverse: Inverse

    @property
    def shape(self) -> Shape:
        """The shape in the checkpoint."""
        return self.inverse.shape


def map_tensors_back(
    architecture: Architecture, spec: ExportSpec, header: ModelHeader, context: Context
) -> list[CheckpointTensorPlan]:
    """Return the tensors of the checkpoint, in the order of the file.

    Parameters
    ----------
    architecture, spec
        What the file is.
    header : ModelHeader
        The file's hparams and shapes.
    context : Context
        What transforms depend on, of the recovered config.

    Raises
    ------
    UnmappedTensorsError
        The file has tensors that the architecture does not know.
    ShapeMismatchError
        A tensor's shape is not what its transform makes.
    """
    finder = _Finder(architecture, spec, header)
    generated = {g.name for g in architecture.computed}
    names = [name for name in header.shapes if generalize(name)[0] not in generated]
    found = {name: finder.choose(name) for name in names}
    unknown = [name for name, part in found.items() if part is None]
    if unknown:
        listed = summarize(unknown)
        raise UnmappedTensorsError(f"no place for {len(unknown)} of the file's tensors: {listed}")
    parts: dict[str, list[_Part]] = defaultdict(list)
    for part in found.values():
        if part is not None:
            for name in part.sources(header.shapes[part.target]):
                parts[name].append(part)
    return [_plan(name, of, finder, context) for name, of in parts.items()]


def _plan(
    name: str, parts: Sequence[_Part], finder: _Finder, context: Context
) -> CheckpointTensorPlan:
    transforms = [part.weight.transform_to(part.target, context) for part in parts]
    shapes = [finder.header.shapes[part.target] for part in parts]
    expert = re.search(parts[0].expert_pattern, name)
    number = int(expert[1]) if expert and parts[0].weight.is_stack else 0
    try:
        inverse = invert(transforms, shapes, number)
    except (ShapeMismatchError, ZeroDivisionError) as error:
        raise ShapeMismatchError(f"{parts[0].target}: {error}") from None
    except ConversionError as error:
        raise ConversionError(f"{name}: {error}") from None
    return CheckpointTensorPlan(finder.rename(name), tuple(part.target for part in parts), inverse)


@dataclass(frozen=True)
class _Part:
    """What a tensor of the file is of an architecture's weight."""

    target: str
    weight: Weight
    block: str
    suffix: str

    @property
    def source(self) -> str:
        return self.weight.source.replace("{i}", self.block or "{i}") + self.suffix

    @property
    def expert_pattern(self) -> str:
        before, _, after = self.source.partition("{e}")
        return rf"^{re.escape(before)}(\d+){re.escape(after)}$"

    def sources(self, shape: Shape) -> Iterator[str]:
        """Yield the names of what it was made of."""
        if not self.weight.is_stack:
            yield self.source
            return
        if shape[0] > MAX_COUNT:
            raise ShapeMismatchError(f"{self.target}: {shape[0]} experts are more than any model's")
        yield from (self.source.replace("{e}", str(e)) for e in range(shape[0]))


@dataclass(frozen=True)
class _Finder:
    """An architecture, indexed by its names in the file."""

    architecture: Architecture
    spec: ExportSpec
    header: ModelHeader

    @cached_property
    def by_name(self) -> Mapping[tuple[str, bool], Sequence[Weight]]:
        index: dict[tuple[str, bool], list[Weight]] = defaultdict(list)
        for weight in self.architecture.weights:
            index[weight.name, weight.full_name].append(weight)
        return index

    def choose(self, name: str) -> _Part | None:
        """Return what a tensor of the file is: the first weight of its name that fits."""
        number = _BLOCK.search(name)
        block = number[0] if number else ""
        full = _BLOCK.sub("{i}", name, count=1)
        suffix = next((s for s in SUFFIXES if full.endswith(s)), "")
        hits = [(weight, "") for weight in self.by_name.get((full, True), ())]
        if suffix:
            stem = full.removesuffix(suffix)
            hits += [(weight, suffix) for weight in self.by_name.get((stem, False), ())]
        required = self.spec.requires_tensor
        fitting = [
            (weight, suffix)
            for weight, suffix in hits
            if weight.source not in required or self.header.has(required[weight.source])
        ]
        order = self.architecture.weights.index
        fitting.sort(key=lambda hit: (hit[0].source not in required, order(hit[0])))
        return _Part(name, fitting[0][0], block, fitting[0][1]) if fitting else None

    @cached_property
    def renames(self) -> Sequence[tuple[str, str]]:
        given = self.spec.rename
        renames = given(self.header) if callable(given) else given
        for tensor, _, prefix in self.spec.task_heads:
            if tensor in self.header.shapes:
                # the head's own tensors have no prefix
                return (*renames, (r"^(?!classifier|pre_classifier|head\.)", prefix))
        return renames

    def rename(self, name: str) -> str:
        """Return the name that transformers has for it."""
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name
