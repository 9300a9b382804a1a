"""Which known thing an unknown one is most like: what an error can suggest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher

from ggufkit.errors import GGUFKitError, TensorNamesError
from ggufkit.mapping.matching import generalize, misfits
from ggufkit.mapping.spec import Architecture, Config, Context, config_errors

# What follows a family's name in its classes' names.
_ENDINGS = re.compile(
    r"(For(CausalLM|ConditionalGeneration|MaskedLM|SequenceClassification)|LMHeadModel|Model)$"
)
# More than any checkpoint has: names of classes, and of tensors that differ in more than numbers.
_MAX_LENGTH, _MAX_CLASSES, _MAX_TENSORS = 100, 10, 500


def stem(name: str) -> str:
    """Return a class or type without its ending, case and separators.

    Examples
    --------
    >>> stem("GPTJForCausalLM"), stem("falcon-h1")
    ('gptj', 'falconh1')
    """
    return re.sub(r"[-_. ]", "", _ENDINGS.sub("", name)).lower()


def closest_name(names: Iterable[str], known: Iterable[str]) -> str:
    """Return the one of `known` whose stem is spelt most like that of one of `names`."""
    given = [stem(name[:_MAX_LENGTH]) for name in names][:_MAX_CLASSES] or [""]

    def likeness(name: str) -> float:
        return max(SequenceMatcher(None, one, stem(name)).ratio() for one in given)

    return max(known, key=likeness)


def best_fit(
    architectures: Sequence[Architecture], names: Iterable[str], config: Config
) -> Architecture | None:
    """Return the architecture that shares most names of tensors with a checkpoint.

    Parameters
    ----------
    architectures : sequence of Architecture
        Of equally good ones, the first is taken.
    names : iterable of str
        The checkpoint's tensors.
    config : mapping
        Its config.json.

    Returns
    -------
    Architecture or None
        None where none shares even half of them.
    """
    kinds = {generalize(name)[0]: name for name in names}
    sample = [kinds[kind] for kind in sorted(kinds)[:_MAX_TENSORS]]
    counts = {i: n for i, a in enumerate(architectures) if (n := _misfits(a, sample, config)) >= 0}
    best = min(counts, key=counts.__getitem__, default=None)
    if best is None or counts[best] > len(sample) / 2:
        return None
    return architectures[best]


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
    best = best_fit((own, *others), names, config)
    if best is None or best.hf_classes == own.hf_classes:
        return error
    name = best.hf_classes[0]
    return type(error)(
        f"{error} The tensors are more like those of {name}",
        unmapped=error.unmapped,
        missing=error.missing,
        closest=name,
    )
