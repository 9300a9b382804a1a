"""The rules about metadata, names and shapes: what `check` says of a file, and a plan of itself."""

from __future__ import annotations

from collections.abc import Iterator

from ggufkit.rules import metadata, shapes, tensors, tokenizer
from ggufkit.rules.model import DescribedModel
from ggufkit.rules.rule import CheckRule, RawFinding, Severity

#: Name of a group -> its rules.
GROUPS: dict[str, tuple[CheckRule, ...]] = {
    "metadata": metadata.RULES,
    "shapes": shapes.RULES + tensors.RULES,
    "tokenizer": tokenizer.RULES,
}


def errors(model: DescribedModel) -> Iterator[tuple[CheckRule, RawFinding]]:
    """Yield what is wrong with a model; what llama.cpp refuses to load first."""
    found = [
        (rule, finding)
        for rules in GROUPS.values()
        for rule in rules
        for finding in rule.check(model)
        if (finding.severity or rule.severity) is Severity.ERROR
    ]
    yield from sorted(found, key=lambda pair: not pair[0].refused)
