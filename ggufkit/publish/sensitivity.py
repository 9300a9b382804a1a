"""Measure how sensitive each group of tensors is to errors, by the KL divergence of predictions.

One group of tensors at a time (such as the keys of the first blocks) is quantized to a probe type,
while all others keep their type; a real llama.cpp then measures how far the predictions move from
the source's. This divergence, divided by the mean relative squared error of the probe, is the
group's sensitivity. Each probe's file is made just before it is measured, and removed afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from ggufkit.converter.execution.execute import execute
from ggufkit.converter.mix.budget import Budget, MixOptions
from ggufkit.converter.mix.measure import measure_errors
from ggufkit.converter.mix.recipe_file import with_types
from ggufkit.converter.mix.sensitivity import Sensitivity
from ggufkit.converter.planning.planner import make_plan
from ggufkit.converter.planning.recipes import RECIPES
from ggufkit.converter.sources.base import Source
from ggufkit.errors import ConversionError
from ggufkit.publish.evaluate import N_CTX, measure
from ggufkit.types import TensorType

# The divergence of groups for which none could be measured.
_LEAST = 1e-6


@dataclass(frozen=True)
class _Probing:
    """A model, its groups of tensors, and the probe type."""

    budget: Budget
    probe: TensorType
    folder: Path
    jobs: int

    @cached_property
    def able(self) -> list[str]:
        """The tensors that can have the probe type, and do not already have it."""
        choices = self.budget.choices
        return [n for n, types in choices.items() if self.probe in types and len(types) > 1]

    def groups(self) -> dict[str, list[str]]:
        """Return the names of tensors by group."""
        found = defaultdict(list)
        for name in self.able:
            found[self.budget.group(name)].append(name)
        return dict(found)

    def files(self, groups: Sequence[Sequence[str]]) -> Iterator[Path]:
        """Yield a file for every group; each is removed before the next is made."""
        for names in groups:
            path = self.make("probe", frozenset(names))
            yield path
            path.unlink()

    def make(self, stem: str, probed: frozenset[str] = frozenset()) -> Path:
        """Write the model with some tensors in the probe type, and return the file."""
        path = self.folder / f"{stem}.gguf"
        types = {
            name: self.probe if name in probed else self.budget.exact_type(name)
            for name in self.budget.choices
        }
        recipe = with_types(RECIPES["Q8_0"], stem, types)
        plan = make_plan(self.budget.fixed.source, [recipe], {stem: path})
        journal = self.folder / "journal"
        execute(plan, journal, jobs=self.jobs, report=False)
        journal.unlink()
        return path


def learn(
    source: Source,
    text: str,
    *,
    probe: TensorType = TensorType.Q4_0,
    n_ctx: int = N_CTX,
    n_chunks: int = 8,
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Sensitivity:
    """Measure the sensitivity of every group of a model's tensors.

    Parameters
    ----------
    source : Source
        From `ggufkit.converter.ladder.open_source`.
    text : str
        Prose of the kind that the model is for. Rate mixes with another text.
    probe : TensorType
        The type that groups are quantized to.
    n_ctx, n_chunks
        See `ggufkit.publish.evaluate.measure`.
    jobs : int
        Threads that encode.
    folder : path-like, optional
        Folder for temporary files, two at a time, each of the size of the source.
    progress : callable
        Called with 1 for each chunk of each file.

    Raises
    ------
    LlamaCppError
        llama.cpp is not installed, or can't run the model.
    ConversionError
        The source can't be converted.
    """
    budget = Budget.of(source, MixOptions((probe,), {}))
    with TemporaryDirectory(prefix="ggufkit-", dir=folder) as made:
        probing = _Probing(budget, probe, Path(made), jobs)
        groups = probing.groups()
        with ThreadPoolExecutor(jobs) as pool:
            types = dict.fromkeys(probing.able, (probe,))
            errors = measure_errors(budget.fixed, types, pool=pool, jobs=jobs)
        found = measure(
            probing.make("base"),
            probing.files([*groups.values()]),
            text,
            n_ctx=n_ctx,
            n_chunks=n_chunks,
            progress=progress,
        )
    weights = {
        group: max(quality.kl_divergence or 0.0, _LEAST) * len(names) / error
        for (group, names), quality in zip(groups.items(), found[1:], strict=True)
        if (error := sum(errors[name, probe] for name in names))
    }
    if not weights:
        raise ConversionError(f"{probe.name} changes no weight of this model: use another --probe")
    facts = {
        "model": source.origin["name"],
        "probe": probe.name,
        "tokens": found[0].n_tokens,
        "perplexity": round(found[0].perplexity, 4),
    }
    return Sensitivity(weights, str(source.origin["name"]), facts)


def count_files(source: Source, probe: TensorType = TensorType.Q4_0) -> int:
    """Return how many files `learn` runs."""
    budget = Budget.of(source, MixOptions((probe,), {}))
    return 1 + len(_Probing(budget, probe, Path(), 1).groups())
