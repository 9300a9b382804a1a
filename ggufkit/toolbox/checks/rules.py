"""The table of rules: one row each, in the order in which findings are listed."""

from __future__ import annotations

from ggufkit.toolbox.checks import (
    compatibility,
    metadata,
    naming,
    shapes,
    splits,
    structure,
    templates,
    tokenizer,
    weights,
)
from ggufkit.toolbox.checks.rule import CheckRule

#: Name of a group -> its rules.
GROUPS: dict[str, tuple[CheckRule, ...]] = {
    "structure": structure.RULES,
    "splits": splits.RULES,
    "metadata": metadata.RULES,
    "shapes": shapes.RULES,
    "tokenizer": tokenizer.RULES,
    "templates": templates.RULES,
    "weights": weights.RULES,
    "naming": naming.RULES,
    "compatibility": compatibility.RULES,
}
RULES: tuple[CheckRule, ...] = tuple(rule for rules in GROUPS.values() for rule in rules)
