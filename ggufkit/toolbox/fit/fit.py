"""Which rung of a model fits into memory: `fit`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ggufkit.errors import BadValueError
from ggufkit.toolbox.fit.cache import CACHE_TYPES, RunOptions, check_types
from ggufkit.toolbox.fit.candidates import Candidate, candidates_of, typical_candidates
from ggufkit.toolbox.fit.machine import Memory
from ggufkit.toolbox.fit.placing import Need, Placement, checked_context, place
from ggufkit.toolbox.fit.shape import ModelShape
from ggufkit.types import TensorType

#: Tokens, where neither the caller nor the model says less.
DEFAULT_CONTEXT = 8192
_TABLE_CONTEXTS = (2048, 4096, 8192, 16384, 32768, 65536, 131072)
_MOST = 1024
_GIB = 1 << 30


@dataclass(frozen=True)
class Fit:
    """What fits and what does not.

    Attributes
    ----------
    memory : Memory
        The memory available.
    placements : tuple of Placement
        One for each rung, by size.
    """

    memory: Memory
    placements: tuple[Placement, ...]

    @property
    def estimated(self) -> bool:
        """Whether sizes are those of a typical model."""
        return any(placed.need.candidate.estimated for placed in self.placements)

    @cached_property
    def best(self) -> Placement | None:
        """The largest rung that fits, preferably on the GPU alone; None if none does."""
        for wanted in (("gpu",), ("ram", "both")):
            found = [placed for placed in self.placements if placed.where in wanted]
            if found:
                return found[-1]
        return None

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return _sentence_of(self.best) if self.best else _nothing_fits(self)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, in bytes, for JSON."""
        return {
            "answer": self.sentence,
            "best": self.best.need.candidate.name if self.best else None,
            "estimated": self.estimated,
            "memory": {"vram": self.memory.vram, "ram": self.memory.ram},
            "rungs": [placed.as_dict() for placed in self.placements],
        }


def fit(
    source: str | os.PathLike[str] | None = None,
    *,
    params: str | None = None,
    ladder: str | None = None,
    context: int | None = None,
    k: str = "f16",
    v: str = "f16",
    vram: str | int | None = None,
    ram: str | int | None = None,
    parallel: int = 1,
    ubatch: int = 512,
) -> Fit:
    """Find out which rung of a model fits into memory, and how much each needs.

    Parameters
    ----------
    source : str or path-like, optional
        A GGUF file or a part of a split model, local or remote; a folder of GGUF files; a
        checkpoint's folder or repository, whose rungs are planned. No weight is read.
    params : str, optional
        Instead of a source: a number of parameters such as ``70B``. Sizes are then estimates, those
        of a typical dense model.
    ladder : str, optional
        Rungs to plan, see `ggufkit.convert`; all by default. Without it a GGUF file
        is taken as it is.
    context : int, optional
        Tokens; by default 8192, or the trained context if that is less.
    k, v : str
        Types of the KV cache: names of `CACHE_TYPES`.
    vram, ram : str or int, optional
        Memory such as ``24G``, in powers of 1024. If neither is given: this machine's. If only
        `ram` is, there is no GPU; if only `vram` is, everything must fit on the GPU.
    parallel : int
        Parallel sequences, which share the context.
    ubatch : int
        Tokens per micro-batch.

    Raises
    ------
    GGUFKitError
        The source can't be read or planned, or an option is invalid.

    Examples
    --------
    >>> found = fit(params="8B", vram="8G", ladder="Q4_K_M,Q8_0")
    >>> [placed.where for placed in found.placements]
    ['gpu', 'nowhere']
    """
    if (source is None) == (params is None):
        raise BadValueError("name either a model or its number of parameters (--params)")
    memory = Memory.stated(vram, ram)
    if source is None:
        candidates = typical_candidates(str(params), ladder)
    else:
        candidates = candidates_of(source, ladder)
    for name, value in (("parallel", parallel), ("ubatch", ubatch)):
        if not 0 < value <= _MOST * _MOST:
            raise BadValueError(f"{name} is {value}: expected a number above 0")
    types = (_cache_type(k), _cache_type(v))
    needs = [_need(c, context, types, parallel, ubatch) for c in candidates]
    needs.sort(key=lambda need: need.weights.total)
    return Fit(memory, tuple(place(need, memory) for need in needs))


def table(found: Fit, contexts: Sequence[int] | None = None) -> dict[int, tuple[Placement, ...]]:
    """Return the placements of a fit's rungs for several contexts.

    Parameters
    ----------
    found : Fit
        From `fit`.
    contexts : sequence of int, optional
        Tokens; by default powers of 2 up to the trained context.
    """
    if contexts is None:
        trained = max((p.need.shape.trained_context for p in found.placements), default=0)
        top = trained or DEFAULT_CONTEXT
        contexts = [n for n in _TABLE_CONTEXTS if n <= top] or [top]
    return {
        n: tuple(place(p.need.with_context(n), found.memory) for p in found.placements)
        for n in contexts
    }


def _need(
    candidate: Candidate,
    context: int | None,
    types: tuple[TensorType, TensorType],
    parallel: int,
    ubatch: int,
) -> Need:
    try:
        shape = ModelShape.of(candidate.metadata)
        options = RunOptions(
            checked_context(context, shape, DEFAULT_CONTEXT),
            *types,
            parallel=parallel,
            ubatch=ubatch,
        )
        check_types(shape, options)
    except BadValueError as error:
        raise BadValueError(error.what, path=candidate.file or None) from None
    return Need.of(candidate, shape, options)


def _cache_type(name: str) -> TensorType:
    try:
        return CACHE_TYPES[name.lower()]
    except KeyError:
        raise BadValueError(
            f"{name!r} is not a type of a KV cache, expected one of {' '.join(CACHE_TYPES)}"
        ) from None


def _sentence_of(placed: Placement) -> str:
    need, memory = placed.need, placed.memory
    at = f"at {need.options.context} tokens"
    vram = f"{gib(placed.vram)} of {gib(memory.vram)} GiB VRAM"
    ram = f"{gib(placed.ram)} of {gib(memory.ram or 0)} GiB RAM"
    if placed.where == "gpu":
        return f"{need.candidate.name} fits: {vram} {at}, every layer on the GPU."
    if placed.where == "ram":
        return f"{need.candidate.name} fits: {ram} {at}."
    layers = f"{placed.n_gpu_layers} of {need.shape.n_layers + 1} layers"
    return f"{need.candidate.name} fits with {layers} on the GPU: {vram} and {ram} {at}."


def _nothing_fits(found: Fit) -> str:
    if not found.placements:
        return "There is nothing to fit."
    least = found.placements[0]
    there = found.memory.vram + (found.memory.ram or 0)
    shorter = least.longest_context
    advice = f" It would fit with {shorter} tokens." if shorter else ""
    return (
        f"Nothing fits: {least.need.candidate.name}, the smallest, needs {gib(least.needed)} GiB "
        f"at {least.need.options.context} tokens, {gib(there)} GiB are available.{advice}"
    )


def gib(n_bytes: int) -> str:
    """Return bytes in GiB.

    Examples
    --------
    >>> gib(24 << 30), gib(300 << 20)
    ('24.0', '0.29')
    """
    value = n_bytes / _GIB
    return f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
