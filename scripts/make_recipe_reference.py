"""Write the tables of docs/recipes.md from the recipes; with --check, fail if out of date."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ggufkit.converter.planning import rules
from ggufkit.converter.planning.recipes import FALLBACK, RECIPES, SPECIAL
from ggufkit.converter.planning.rules import Recipe, RecipeRule

TARGET = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
MARK = "<!-- {}: made by scripts/make_recipe_reference.py -->\n"
# Almost every recipe starts with these two rules: the table says `kv` for them.
KEYS_VALUES = RECIPES["Q8_0"].rules


def recipe_table() -> Iterator[str]:
    """Yield the lines of the table of recipes, in ladder order."""
    yield "| file type | id | base | output | rules, the first match wins |"
    yield "|---|---|---|---|---|"
    for recipe in RECIPES.values():
        mark = " *" if recipe.name in SPECIAL else ""
        name, number = f"`{recipe.name}`{mark}", int(recipe.file_type)
        row = (name, number, recipe.base.name, recipe.output.name, _rules(recipe))
        yield "| " + " | ".join(map(str, row)) + " |"


def predicate_table() -> Iterator[str]:
    """Yield the lines of the table of predicates."""
    yield "| where | means |"
    yield "|---|---|"
    used = {_when(rule) for recipe in RECIPES.values() for rule in recipe.rules}
    names = {part for when in used for part in when.split(" and ") if part}
    for name in sorted(names):
        yield f"| {name.replace('_', ' ')} | {getattr(rules, name).__doc__.rstrip('.')} |"


def fallback_table() -> Iterator[str]:
    """Yield the lines of the table of fallbacks."""
    yield "| chosen | becomes |"
    yield "|---|---|"
    for fallback in dict.fromkeys(FALLBACK.values()):
        chosen = [source.name for source, target in FALLBACK.items() if target is fallback]
        yield f"| {', '.join(chosen)} | {fallback.name} |"


def _rules(recipe: Recipe) -> str:
    own = recipe.rules
    texts = []
    if own[: len(KEYS_VALUES)] == KEYS_VALUES:
        texts.append("`kv`")
        own = own[len(KEYS_VALUES) :]
    texts += map(str, own)
    return "; ".join(texts) or "-"


def _when(rule: RecipeRule) -> str:
    return "" if rule.when is None else rule.when.__name__


def filled(page: str) -> str:
    """Return the page with the tables between its marks made anew."""
    for name, lines in (
        ("recipes", recipe_table()),
        ("predicates", predicate_table()),
        ("fallback", fallback_table()),
    ):
        mark, end = MARK.format(name), f"<!-- end of {name} -->"
        table = mark + "\n" + "\n".join(lines) + "\n\n" + end
        page = re.sub(f"{re.escape(mark)}.*?{re.escape(end)}", lambda _: table, page, flags=re.S)  # noqa: B023
    return page


if __name__ == "__main__":
    text = TARGET.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        TARGET.write_text(filled(text), encoding="utf-8")
    elif filled(text) != text:
        sys.exit("docs/recipes.md is out of date: run scripts/make_recipe_reference.py")
