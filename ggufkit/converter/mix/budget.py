"""Mixes by budget: the type of every tensor that loses least within a limit of bytes.

The loss of a mix is a sum over tensors: the relative squared error that a type was measured to
give (`ggufkit.converter.mix.measure`), times the model's sensitivity to it
(`ggufkit.converter.mix.sensitivity`). The least sum within the limit is chosen
(`ggufkit.converter.mix.knapsack`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ggufkit.converter.mix.knapsack import Option, Solution, solve
from ggufkit.converter.mix.measure import Errors
from ggufkit.converter.mix.recipe_file import with_types
from ggufkit.converter.mix.result import Limit, Mix, Share
from ggufkit.converter.mix.sensitivity import DEFAULT, OTHER, Sensitivity, group_of
from ggufkit.converter.planning.plan import Plan, Rung
from ggufkit.converter.planning.planner import make_plan
from ggufkit.converter.planning.recipes import RECIPES, SPECIAL
from ggufkit.converter.planning.rules import Recipe
from ggufkit.converter.planning.type_selection import needs_importance
from ggufkit.converter.sources.base import Source, SourceTensor
from ggufkit.errors import ConversionError
from ggufkit.gguf.layout import DEFAULT_ALIGNMENT
from ggufkit.types import TensorType as T

#: Types to choose from; those that need importance only for tensors with an importance.
TYPES = (
    *(T.Q2_K, T.Q3_K, T.IQ3_S, T.IQ4_XS, T.IQ4_NL, T.Q4_0, T.Q4_1, T.Q4_K),
    *(T.Q5_0, T.Q5_1, T.Q5_K, T.Q6_K, T.Q8_0),
    *(T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS),
)
#: Fewest bits per weight, by role: errors of weights predict the loss worst for these.
MIN_BITS = {"token_embd": 3.0, "tied_embd": 4.0, "output": 4.0}
_TRIES = 8


@dataclass(frozen=True)
class MixOptions:
    """Restrictions on mixes, and the sensitivities that they are rated by.

    Attributes
    ----------
    types : tuple of TensorType
        The types that tensors may have.
    min_bits : mapping of str to float
        Fewest bits per weight, by role or group.
    sensitivity : Sensitivity
        How much errors in each group of tensors cost.
    exact : bool
        Whether a tensor may also keep the source's weights exactly.
    """

    types: tuple[T, ...] = TYPES
    min_bits: Mapping[str, float] = field(default_factory=lambda: dict(MIN_BITS))
    sensitivity: Sensitivity = DEFAULT
    exact: bool = True


@dataclass(frozen=True)
class Budget:
    """A model's tensors, what they can become, and the fixed recipes to compare with.

    Attributes
    ----------
    fixed : Plan
        Rungs of all fixed recipes.
    options : MixOptions
        What mixes are made of.
    plan_rung : callable
        Returns the rung that a recipe makes.
    """

    fixed: Plan
    options: MixOptions
    plan_rung: Callable[[Recipe], Rung]

    @classmethod
    def of(cls, source: Source, wanted: MixOptions | None = None, **planning: Any) -> Budget:
        """Plan the fixed recipes of a source.

        Parameters
        ----------
        source : Source
            What to convert.
        wanted : MixOptions, optional
            What mixes are made of.
        **planning
            Of `ggufkit.converter.planning.planner.make_plan`.
        """

        def plan(recipes: Sequence[Recipe], *, skip: bool) -> Plan:
            names = {recipe.name: Path("x.gguf") for recipe in recipes}
            return make_plan(source, recipes, names, skip_impossible=skip, **planning)

        recipes = [r for r in RECIPES.values() if r.base.is_quantized and r.name not in SPECIAL]
        return cls(
            plan(recipes, skip=True),
            wanted or MixOptions(),
            lambda recipe: plan([recipe], skip=False).rungs[0],
        )

    @cached_property
    def tensors(self) -> dict[str, SourceTensor]:
        """The source's tensors by name."""
        return {tensor.name: tensor for tensor in self.fixed.source.tensors}

    @cached_property
    def n_blocks(self) -> int:
        """Blocks of the model, by its tensors' names."""
        found = [re.match(r"blk\.(\d+)\.", name) for name in self.tensors]
        return 1 + max((int(match[1]) for match in found if match), default=0)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many tensors that are free to choose each group and each role has."""
        groups = [self.group(name) for name in self.choices]
        # a group that is a role by itself counts once
        return Counter(key for group in groups for key in {group, group.partition("/")[0]})

    @cached_property
    def tied(self) -> bool:
        """Whether the token embeddings are the output too."""
        return "output.weight" not in self.tensors

    @cached_property
    def choices(self) -> dict[str, tuple[T, ...]]:
        """Return what each tensor can become, of those that are free to choose.

        Raises
        ------
        ConversionError
            No tensor is free.
        """
        targets = self.fixed.rungs[0].targets
        found = {
            tensor.name: self._types(tensor)
            for tensor in self.fixed.source.tensors
            if targets[tensor.name].reason.is_by_recipe
        }
        if not found:
            raise ConversionError(
                "no tensor's type is left to choose: take a file type and no budget"
            )
        return found

    def refuse_unused(self, min_bits: Sequence[str], types: Sequence[T]) -> None:
        """Refuse restrictions of the user's that bind no tensor.

        Parameters
        ----------
        min_bits : sequence of str
            Roles and groups.
        types : sequence of TensorType
            Types to choose from.

        Raises
        ------
        ConversionError
            A role, a type, or all groups of the sensitivities are none of any tensor here.
        """
        known = ", ".join(sorted(self.counts))
        for role in min_bits:
            if role not in self.counts:
                raise ConversionError(
                    f"--min-bits {role}: no tensor whose type is free to choose has that role; "
                    f"this model has {known}"
                )
        possible = {type_ for found in self.choices.values() for type_ in found}
        for type_ in types:
            if type_ not in possible:
                raise ConversionError(
                    f"--mix-types {type_.name}: no tensor of this model can have it: its blocks "
                    "do not fit the rows, it needs an importance matrix (--imatrix), or "
                    "--min-bits forbids it; leave it out"
                )
        groups = self.options.sensitivity.weights.keys() - {OTHER}
        if groups.isdisjoint(self.counts):
            raise ConversionError(
                f"--sensitivity {self.options.sensitivity.origin}: it has "
                f"{', '.join(sorted(groups)) or 'no group'}, this model has {known}"
            )

    def find(self, limit: Limit, errors: Errors) -> Mix:
        """Choose the best mix within a limit.

        Parameters
        ----------
        limit : Limit
            The limit.
        errors : dict
            From `ggufkit.converter.mix.measure.measure_errors`, for `choices`.

        Raises
        ------
        ConversionError
            Even the smallest types need more.
        """
        items = [[self._option(n, t, errors) for t in types] for n, types in self.choices.items()]
        nearest = min(self.fixed.rungs, key=lambda rung: abs(limit.excess(rung)))

        def recipe_of(taken: Sequence[int]) -> Recipe:
            pairs = zip(self.choices.items(), taken, strict=True)
            return with_types(nearest.recipe, limit.name, {n: types[i] for (n, types), i in pairs})

        solution = _solve_within(
            items, lambda taken: limit.excess(self.plan_rung(recipe_of(taken))), limit.name
        )
        recipe = recipe_of(solution.taken)
        shares = {name: self._share(name, type_, errors) for name, type_ in recipe.types.items()}
        return Mix(recipe, shares, solution.bound, nearest, self.loss_of(nearest, errors))

    def loss_of(self, rung: Rung, errors: Errors) -> float | None:
        """Return the loss of a rung; None if one of its types was not measured."""
        types = {name: rung.targets[name].type for name in self.choices}
        if any((name, type_) not in errors for name, type_ in types.items()):
            return None
        return sum(self._share(name, type_, errors).loss for name, type_ in types.items())

    def exact_type(self, name: str) -> T:
        """Return the type in which a tensor's weights are as in the source."""
        tensor = self.tensors[name]
        if tensor.lossless_type is not None:
            return tensor.lossless_type
        return tensor.source_type if self.fixed.source.is_gguf else self.fixed.via

    def group(self, name: str) -> str:
        """Return the group of a tensor, see `ggufkit.converter.mix.sensitivity`."""
        return group_of(name, self.n_blocks, tied=self.tied)

    def _types(self, tensor: SourceTensor) -> tuple[T, ...]:
        """Return what a tensor can become; F16 where nothing else is left, as in recipes."""
        least = self._min_bits(tensor.name)
        known = tensor.name in self.fixed.importance
        exact = self.exact_type(tensor.name)
        types = {*self.options.types, exact}
        unwanted = {T.F32} if self.options.exact else {T.F32, exact}
        found = tuple(
            type_
            for type_ in sorted(types - unwanted)
            if tensor.n_cols % type_.block_size == 0
            and type_.bits_per_weight >= least
            and (known or not needs_importance(type_) or type_ is exact)
        )
        return found or (T.F16,)

    def _min_bits(self, name: str) -> float:
        group = self.group(name)
        bits = self.options.min_bits
        return bits.get(group, bits.get(group.partition("/")[0], 0.0))

    def _size(self, name: str, type_: T) -> int:
        tensor = self.tensors[name]
        n_bytes = type_.row_size(tensor.n_cols) * tensor.n_rows
        return -(-n_bytes // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT

    def _option(self, name: str, type_: T, errors: Errors) -> Option:
        return Option(self._size(name, type_), self._share(name, type_, errors).loss)

    def _share(self, name: str, type_: T, errors: Errors) -> Share:
        group = self.group(name)
        return Share(group, errors[name, type_], self.options.sensitivity.of(group, self.counts))


def _solve_within(
    items: Sequence[Sequence[Option]], excess_of: Callable[[Sequence[int]], int], name: str
) -> Solution:
    """Solve the knapsack within a limit that counts more, or less, than the tensors' data.

    Headers of splits count too; for VRAM, tensors that stay in RAM do not. So the room that is
    left for tensors is found by trying.
    """
    least = [min(range(len(row)), key=lambda i: row[i].n_bytes) for row in items]
    room = -excess_of(least)
    if room < 0:
        raise ConversionError(
            f"{name}: the smallest mix needs {-room} bytes more; allow smaller types with "
            "--mix-types, or fewer bits with --min-bits"
        )
    room += sum(row[i].n_bytes for row, i in zip(items, least, strict=True))
    best: Solution | None = None
    for _ in range(_TRIES):
        solution = solve(items, room)
        if solution is None or (best and solution.taken == best.taken):
            break
        excess = excess_of(solution.taken)
        if excess <= 0 and (best is None or solution.cost < best.cost):
            best = solution
        room -= excess
    if best is None:
        raise ConversionError(f"{name}: the headers of the splits leave no room for a mix")
    return best
