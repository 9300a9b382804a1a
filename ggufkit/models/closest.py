"""Which known thing an unknown one is most like: what an error can suggest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

# What follows a family's name in its classes' names.
_ENDINGS = re.compile(
    r"(For(CausalLM|ConditionalGeneration|MaskedLM|SequenceClassification)|LMHeadModel|Model)$"
)
_MAX_LENGTH, _MAX_NAMES = 100, 10


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
    given = [stem(name[:_MAX_LENGTH]) for name in names][:_MAX_NAMES] or [""]

    def likeness(name: str) -> float:
        return max(SequenceMatcher(None, one, stem(name)).ratio() for one in given)

    return max(known, key=likeness)
