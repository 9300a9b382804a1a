"""The table of rules: one row each, in the order in which findings are listed."""

from __future__ import annotations

from ggufkit.rules import engine
from ggufkit.rules.rule import CheckRule
from ggufkit.toolbox.checks import (
    compatibility,
    file_type,
    naming,
    splits,
    structure,
    templates,
    weights,
)

#: Name of a group -> its rules.
GROUPS: dict[str, tuple[CheckRule, ...]] = {
    "structure": structure.RULES,
    "splits": splits.RULES,
    "metadata": engine.GROUPS["metadata"] + file_type.RULES,
    "shapes": engine.GROUPS["shapes"],
    "tokenizer": engine.GROUPS["tokenizer"],
    "templates": templates.RULES,
    "weights": weights.RULES,
    "naming": naming.RULES,
    "compatibility": compatibility.RULES,
}
RULES: tuple[CheckRule, ...] = tuple(rule for rules in GROUPS.values() for rule in rules)
