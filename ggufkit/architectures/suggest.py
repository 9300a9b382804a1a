"""Which known thing an unknown one is most like: what an error can suggest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ggufkit.errors import GGUFKitError, TensorNamesError
from ggufkit.mapping.matching import generalize, misfits
from ggufkit.mapping.spec import Architecture, Config, Context, config_errors

# What follows a family's name in its classes' names.
_ENDINGS = re.compile(
    r"(For(CausalLM|ConditionalGeneration|MaskedLM|(Sequence|Token)Classification)"
    r"|LMHeadModel|Model)$"
)
# More than any checkpoint has: names of classes, and of tensors that differ in more than numbers.
_MAX_LENGTH, _MAX_CLASSES, _MAX_TENSORS = 100, 10, 500
# How much of two stems has to be the same for a hint: "llamas" and "llama", not "gpt" and "opt".
_ALIKE = 0.75
# What most models without a file of their own are like.
_USUAL = "LlamaForCausalLM"


def stem(name: str) -> str:
    """Return a class or type without its ending, case and separators.

    Examples
    --------
    >>> stem("GPTJForCausalLM"), stem("falcon-h1")
    ('gptj', 'falconh1')
    """
    return re.sub(r"[-_. ]", "", _ENDINGS.sub("", name)).lower()


def likeness(names: Iterable[str], known: str) -> float:
    """Return how much the stem of `known` is spelt like that of one of `names`, 0 to 1."""
    given = [stem(name[:_MAX_LENGTH]) for name in names][:_MAX_CLASSES] or [""]
    return max(SequenceMatcher(None, one, stem(known)).ratio() for one in given)


def closest_name(names: Sequence[str], known: Iterable[str]) -> str:
    """Return the one of `known` whose stem is spelt most like that of one of `names`."""
    return max(known, key=lambda name: likeness(names, name))


def similar_name(names: Sequence[str], known: Iterable[str]) -> str | None:
    """Return the same, or None where none is spelt really alike."""
    found = closest_name(names, known)
    return found if likeness(names, found) >= _ALIKE else None


@dataclass(frozen=True)
class BestFit:
    """The architecture that shares most names of tensors with a checkpoint.

    Attributes
    ----------
    architecture : Architecture
        Of equally good ones, one with a class that is spelt like the checkpoint's; else llama's.
    hf_class : str
        Its class that is spelt most like the checkpoint's.
    is_complete : bool
        Whether it shares all of them.
    """

    architecture: Architecture
    hf_class: str
    is_complete: bool


def best_fit(
    architectures: Sequence[Architecture],
    names: Iterable[str],
    config: Config,
    called: Sequence[str] = (),
) -> BestFit | None:
    """Return the architecture that shares most names of tensors with a checkpoint.

    Parameters
    ----------
    architectures : sequence of Architecture
        Those to choose from.
    names : iterable of str
        The checkpoint's tensors.
    config : mapping
        Its config.json.
    called : sequence of str
        What it calls itself.

    Returns
    -------
    BestFit or None
        None where none shares even half of them.
    """
    kinds = {generalize(name)[0]: name for name in names}
    sample = [kinds[kind] for kind in sorted(kinds)[:_MAX_TENSORS]]
    counts = {i: n for i, a in enumerate(architectures) if (n := _misfits(a, sample, config)) >= 0}
    least = min(counts.values(), default=-1)
    if least < 0 or least > len(sample) / 2:
        return None
    by_class = {
        name: architectures[i]
        for i, n in counts.items()
        if n == least
        for name in architectures[i].hf_classes
    }
    if not by_class:
        return None
    found = similar_name(called, by_class) if called else None
    found = found or (_USUAL if _USUAL in by_class else next(iter(by_class)))
    return BestFit(by_class[found], found, least == 0)


def _misfits(architecture: Architecture, names: list[str], config: Config) -> int:
    """Return what `misfits` counts, -1 where the config is none of this architecture."""
    try:
        with config_errors(architecture):
            return misfits(architecture, names, Context(config, n_tokens=0))
    except GGUFKitError:
        return -1


def with_closest(
    error: TensorNamesError,
    own: Architecture,
    others: Sequence[Architecture],
    names: Iterable[str],
    config: Config,
) -> TensorNamesError:
    """Return an error that also names the architecture that fits a checkpoint better, if one does.

    Parameters
    ----------
    error : TensorNamesError
        What does not fit.
    own : Architecture
        The checkpoint's, by its class.
    others : sequence of Architecture
        What it may be instead.
    names, config
        See `best_fit`.
    """
    best = best_fit((own, *others), names, config, own.hf_classes)
    if best is None or best.architecture.hf_classes == own.hf_classes:
        return error
    name = best.hf_class
    return type(error)(
        f"{error} The tensors are more like those of {name}",
        unmapped=error.unmapped,
        missing=error.missing,
        closest=name,
    )
