"""Options and importance matrices that bind nothing: refused if no tensor has the name they give.

llama-quantize ignores them in silence. Here a name that no tensor has is an error, and an option
that decides nothing is said.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ggufkit.converter.planning.reasons import ReasonCode as Code
from ggufkit.converter.planning.type_selection import (
    EMBEDDINGS,
    TypeOptions,
    allows_quantization,
)
from ggufkit.errors import ConversionError

if TYPE_CHECKING:
    from ggufkit.calibration.imatrix import Imatrix
    from ggufkit.converter.planning.plan import Rung
    from ggufkit.converter.planning.rules import Recipe
    from ggufkit.converter.sources.base import SourceTensor

_SHOWN = 3
# What a pattern may hold in addition to a part of a name.
_SYNTAX = re.compile(r"\\.|blk|[\^$.*+?(){}|\[\]\d]+")


def refuse_unknown_names(
    options: TypeOptions, recipes: Sequence[Recipe], names: Sequence[str]
) -> None:
    """Refuse patterns and recipes that name tensors which a model does not have.

    Parameters
    ----------
    options : TypeOptions
        Whose patterns are looked at.
    recipes : sequence of Recipe
        Those of recipe files name single tensors.
    names : sequence of str
        The model's tensors.

    Raises
    ------
    ConversionError
        One matches none; the message has names that are spelt alike.
    """
    for pattern, type_ in options.tensor_type:
        if not any(re.search(pattern, name) for name in names):
            raise ConversionError(
                f"--tensor-type {pattern}={type_.name}: no tensor's name matches"
                f"{_like(pattern, names)}"
            )
    known = set(names)
    for recipe in recipes:
        unknown = [name for name in recipe.types if name not in known]
        if unknown:
            more = f" and {len(unknown) - 1} more tensors" if len(unknown) > 1 else ""
            raise ConversionError(
                f"recipe {recipe.name} names {unknown[0]}{more}, which this model does not have"
                f"{_like(unknown[0], names)}: take a recipe that was made for this model"
            )


def _like(wanted: str, names: Iterable[str]) -> str:
    """Name the tensors that are spelt like what was wanted, if there are any."""
    parts: dict[str, str] = {}
    for name in names:
        parts.setdefault(name.lower(), name)
        parts.setdefault(_bare(name), name)
    words = (wanted.lower(), _bare(wanted))
    close = [m for word in words for m in difflib.get_close_matches(word, parts, _SHOWN)]
    found = dict.fromkeys(parts[match] for match in close)
    return f"; close to it: {', '.join(list(found)[:_SHOWN])}" if found else ""


def _bare(text: str) -> str:
    """Return a name or a pattern without numbers, syntax and the suffix that all have."""
    return _SYNTAX.sub("", text.lower().removesuffix("$").removesuffix("weight"))


def idle_options(options: TypeOptions, rungs: Sequence[Rung]) -> Iterator[str]:
    """Yield a sentence for each option that decides no tensor's type in any rung."""
    reasons = {
        (target.reason.replaces or target.reason).code
        for rung in rungs
        for target in rung.targets.values()
    }
    names = ", ".join(rung.name for rung in rungs)
    for option, given, codes in (
        ("--token-embedding-type", options.token_embedding_type, (Code.EMBEDDING_OPTION,)),
        (
            "--output-tensor-type",
            options.output_tensor_type,
            (Code.OUTPUT_OPTION, Code.TIED_OUTPUT_OPTION),
        ),
        ("--leave-output-tensor", options.leave_output_tensor, (Code.LEAVE_OUTPUT_OPTION,)),
        ("--pure", options.pure, (Code.PURE_OPTION,)),
    ):
        if given not in (None, False) and reasons.isdisjoint(codes):
            yield f"{option} decides no tensor's type in {names}"
    bound = _binding(options, rungs)
    for i, (pattern, type_) in enumerate(options.tensor_type):
        if i not in bound:
            yield f"--tensor-type {pattern}={type_.name} decides no tensor's type in {names}"


def _binding(options: TypeOptions, rungs: Sequence[Rung]) -> set[int]:
    """Return which of the patterns decided: of several that match, the first does."""
    decided = {
        name
        for rung in rungs
        for name, target in rung.targets.items()
        if (target.reason.replaces or target.reason).code is Code.TENSOR_TYPE_OPTION
    }
    patterns = [pattern for pattern, _ in options.tensor_type]
    return {
        next(i for i, pattern in enumerate(patterns) if re.search(pattern, name))
        for name in decided
    }


def importance_notes(
    imatrix: Imatrix, matched: Mapping[str, object], tensors: Sequence[SourceTensor]
) -> Iterator[str]:
    """Yield what is to be said of an importance matrix that does not cover the model exactly.

    Raises
    ------
    ConversionError
        It covers nothing: it belongs to another model.
    """
    if not matched:
        first = next(iter(imatrix.entries), "none")
        raise ConversionError(
            f"--imatrix {imatrix.name}: none of its {len(imatrix.entries)} entries (the first: "
            f"{first}) is for a tensor of this model: it belongs to another model; make one of "
            "this model with llama-imatrix, or leave the option out"
        )
    surplus = [name for name in imatrix.entries if name not in matched]
    lacking = [
        tensor.name
        for tensor in tensors
        if allows_quantization(tensor)
        and tensor.name not in (*EMBEDDINGS, "output.weight", *matched)
    ]
    if surplus:
        yield (
            f"--imatrix {imatrix.name}: {len(surplus)} of its {len(imatrix.entries)} entries "
            f"({_listed(surplus)}) are for no tensor of this model and are not used"
        )
    if lacking:
        yield (
            f"--imatrix {imatrix.name} has no entry for {len(lacking)} matrices "
            f"({_listed(lacking)}): they are quantized without importance"
        )


def idle_importance(imatrix: Imatrix, rungs: Sequence[Rung]) -> Iterator[str]:
    """Yield a sentence if no rung is quantized, so that importance matters to none."""
    if rungs and not any(rung.recipe.base.is_quantized for rung in rungs):
        names = ", ".join(rung.name for rung in rungs)
        yield f"--imatrix {imatrix.name} has no effect on {names}, which hold floats"


def _listed(names: Sequence[str]) -> str:
    more = " ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
