"""Planning: the types, metadata and places of every rung, from the head of the source alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from ggufkit.converter.planning.plan import OutputFile, Plan, Rung, Target, quantize_order
from ggufkit.converter.planning.reasons import Reason, ReasonCode
from ggufkit.converter.planning.rules import Recipe
from ggufkit.converter.planning.type_selection import (
    TypeOptions,
    choose_types,
    lacks_importance,
    model_facts,
    without_ones,
)
from ggufkit.converter.planning.without_effect import (
    idle_importance,
    idle_options,
    importance_notes,
    refuse_unknown_names,
)
from ggufkit.converter.sources.base import FILE_TYPE_KEY, QUANTIZATION, Source, SourceTensor
from ggufkit.errors import ConversionError, ImportanceRequiredError
from ggufkit.gguf.layout import TensorInfo, plan_layout
from ggufkit.gguf.split import CONVERTER, GGUF_SPLIT, part_name, plan_split
from ggufkit.types import FloatName, NonFinite, Search, TensorType

if TYPE_CHECKING:
    from ggufkit.calibration.imatrix import Imatrix
    from ggufkit.gguf.metadata import Metadata


@dataclass(frozen=True)
class SplitLimits:
    """How rungs are split; 0 is no limit, see `ggufkit.gguf.split.plan_split`."""

    max_bytes: int = 0
    max_tensors: int = 0
    no_tensor_first: bool = False

    def __bool__(self) -> bool:
        return bool(self.max_bytes or self.max_tensors)


class PlanningModes(TypedDict, total=False):
    """Options of `make_plan` that its callers hand on."""

    via: FloatName | None
    options: TypeOptions | None
    split: SplitLimits | None
    search: Search
    nonfinite: NonFinite


def make_plan(
    source: Source,
    recipes: Sequence[Recipe],
    names: Mapping[str, Path],
    *,
    via: FloatName | None = None,
    imatrix: Imatrix | None = None,
    options: TypeOptions | None = None,
    split: SplitLimits | None = None,
    skip_impossible: bool = False,
    search: Search = "ggml",
    nonfinite: NonFinite = "error",
) -> Plan:
    """Plan a ladder. Reads no tensor data.

    Parameters
    ----------
    source : Source
        What to convert.
    recipes : sequence of Recipe
        The rungs.
    names : mapping of str to Path
        Recipe name to the file to write.
    via : {"f32", "f16", "bf16"}, optional
        Round weights to this type before quantizing them, as llama.cpp's two steps do. By
        default nothing is rounded.
    imatrix : Imatrix, optional
        Importance of weights.
    options : TypeOptions, optional
        Overrides of the recipes.
    split : SplitLimits, optional
        Write each rung as several files.
    skip_impossible : bool
        Leave out rungs that need an importance matrix, instead of refusing.
    search : {"ggml", "thorough"}
        How scales are found, see `ggufkit.codecs.quantize`.
    nonfinite : {"error", "zero", "keep"}
        What becomes of weights that are NaN or infinite: nothing is published; they become 0; or
        they stay, which block types refuse.

    Raises
    ------
    ImportanceRequiredError
        A rung needs an importance matrix.
    ConversionError
        A mode is unknown, the options contradict each other, or they name tensors of another
        model, as an importance matrix may.
    """
    _check_mode("search", search, get_args(Search))
    _check_mode("nonfinite", nonfinite, get_args(NonFinite))
    planner = _Planner(
        source=source,
        via=_via_type(source, via),
        imatrix=imatrix,
        importance={} if imatrix is None else imatrix.match(source.tensors),
        options=options or TypeOptions(),
        split=split or SplitLimits(),
    )
    refuse_unknown_names(planner.options, recipes, [tensor.name for tensor in source.tensors])
    rungs: list[Rung] = []
    skipped: dict[str, str] = {}
    for recipe in recipes:
        try:
            rungs.append(planner.plan_rung(recipe, names[recipe.name]))
        except ImportanceRequiredError as error:
            if not skip_impossible:
                raise
            skipped[recipe.name] = str(error)
    return Plan(
        source=source.with_notes(planner.notes(rungs)),
        rungs=tuple(rungs),
        via=planner.via,
        importance=planner.importance,
        skipped=skipped,
        search=search,
        nonfinite=nonfinite,
        imatrix=None if imatrix is None else {"name": imatrix.name, "sha256": imatrix.sha256},
    )


@dataclass(frozen=True)
class _Planner:
    """What the rungs of a ladder have in common."""

    source: Source
    via: TensorType
    imatrix: Imatrix | None
    importance: Mapping[str, NDArray[np.float32]]
    options: TypeOptions
    split: SplitLimits

    def notes(self, rungs: Sequence[Rung]) -> list[str]:
        """Return what is to be said of options and importance that change nothing."""
        found = [*idle_options(self.options, rungs)] if rungs else []
        if self.imatrix is not None:
            found += importance_notes(self.imatrix, self.importance, self.source.tensors)
            found += idle_importance(self.imatrix, rungs)
        return found

    def plan_rung(self, recipe: Recipe, path: Path) -> Rung:
        # A float rung of a checkpoint is the converter's own file; everything else is what
        # llama-quantize makes of that file, which puts the tensors into its own order.
        direct = self._is_own(recipe)
        if direct:
            metadata = self.source.metadata(recipe.file_type)
            tensors = self.source.tensors
            chosen = {tensor.name: self._own_type(tensor, recipe) for tensor in tensors}
        else:
            tensors = tuple(sorted(self.source.tensors, key=quantize_order))
            metadata = self._quantized_metadata(recipe)
            chosen = self._choose(recipe, tensors, metadata)
        infos = [
            TensorInfo(t.name, t.shape if direct else without_ones(t.shape), chosen[t.name][0])
            for t in tensors
        ]
        parts = self._lay_out(metadata, infos, path, direct)
        return Rung(
            recipe=recipe,
            parts=parts,
            targets=_targets(parts, chosen),
            via_intermediate=not direct,
            n_weights=sum(tensor.n_rows * tensor.n_cols for tensor in tensors),
        )

    def _is_own(self, recipe: Recipe) -> bool:
        """Whether the source's own converter writes a file type, not llama-quantize."""
        allowed = self.source.file_types
        if allowed is None:
            return not self.source.is_gguf and not recipe.base.is_quantized
        if recipe.file_type not in allowed:
            names = ", ".join(file_type.name for file_type in allowed)
            raise ConversionError(f"{recipe.name}: this file can be {names} only")
        return True

    def _own_type(self, tensor: SourceTensor, recipe: Recipe) -> tuple[TensorType, Reason]:
        """Return a tensor's type in a file of the source's own converter, and why."""
        if tensor.source_type.is_quantized:
            return tensor.source_type, Reason(ReasonCode.KEPT_BLOCKS)
        if tensor.required_type is None:
            return recipe.base, Reason(ReasonCode.BASE)
        small = self.source.file_types is None
        code = ReasonCode.KEPT_SMALL if small else ReasonCode.CONVERTER
        return tensor.required_type, Reason(code)

    def _quantized_metadata(self, recipe: Recipe) -> Metadata:
        metadata = self.source.metadata(recipe.file_type)
        for key, value in {**QUANTIZATION, FILE_TYPE_KEY: int(recipe.file_type)}.items():
            metadata.pop(key, None)
            metadata[key] = value
        if self.imatrix is not None:
            metadata.extend(self.imatrix.provenance())
        return metadata

    def _choose(
        self, recipe: Recipe, tensors: Sequence[SourceTensor], metadata: Metadata
    ) -> dict[str, tuple[TensorType, Reason]]:
        facts = model_facts(metadata, has_imatrix=self.imatrix is not None)
        intermediate = [replace(t, source_type=self.intermediate(t)) for t in tensors]
        choices = choose_types(intermediate, recipe, facts, self.options)
        chosen = {t.name: choice for t, choice in zip(tensors, choices, strict=True)}
        lacking = [
            name
            for name, (type_, reason) in chosen.items()
            if name not in self.importance
            and not reason.is_kept
            and lacks_importance(name, type_, recipe)
        ]
        if lacking:
            raise ImportanceRequiredError(
                f"{recipe.name} needs an importance matrix for {lacking[0]} "
                f"({chosen[lacking[0]][0].name}) and {len(lacking) - 1} more tensors: "
                "give one that covers them with --imatrix"
            )
        return chosen

    def intermediate(self, tensor: SourceTensor) -> TensorType:
        """Return the type of a tensor in the file that llama-quantize would start from."""
        if self.source.is_gguf or tensor.source_type.is_quantized:
            return tensor.source_type
        return self.via if tensor.required_type is None else tensor.required_type

    def _lay_out(
        self, metadata: Metadata, infos: Sequence[TensorInfo], path: Path, direct: bool
    ) -> tuple[OutputFile, ...]:
        if self.split:
            parts = plan_split(
                metadata,
                infos,
                max_bytes=self.split.max_bytes,
                max_tensors=self.split.max_tensors,
                no_tensor_first=self.split.no_tensor_first,
                style=CONVERTER if direct else GGUF_SPLIT,
            )
            if len(parts) > 1:
                stem = path.name.removesuffix(".gguf")
                return tuple(
                    OutputFile(
                        path.with_name(part_name(stem, i, len(parts))),
                        plan_layout(part.metadata, part.tensors),
                    )
                    for i, part in enumerate(parts)
                )
        return (OutputFile(path, plan_layout(metadata, infos, pad_header=not direct)),)


def _targets(
    parts: Sequence[OutputFile], chosen: Mapping[str, tuple[TensorType, Reason]]
) -> dict[str, Target]:
    return {
        info.name: Target(
            type=info.type,
            reason=chosen[info.name][1],
            part=index,
            offset=part.layout.data_offset + info.offset,
            n_bytes=info.nbytes,
        )
        for index, part in enumerate(parts)
        for info in part.layout.tensors
    }


def _check_mode(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConversionError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _via_type(source: Source, via: FloatName | None) -> TensorType:
    """Return the intermediate type; without `via` the narrowest that loses nothing."""
    if via is not None:
        if source.is_gguf:
            raise ConversionError("--via is for checkpoints: a GGUF file is quantized as it is")
        _check_mode("via", via, get_args(FloatName))
        return TensorType[via.upper()]
    plain = [
        t for t in source.tensors if t.required_type is None and not t.source_type.is_quantized
    ]
    stored = {tensor.source_type for tensor in plain}
    return stored.pop() if len(stored) == 1 else TensorType.F32
