"""Write what is claimed of architectures from the tests' data; with --check, fail if out of date.

The table of docs/architectures.md names the models by hand, in its first column; all else in it,
and ggufkit/architectures/evidence.json, which the package reads, is made here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ggufkit.architectures.catalog import DATA, by_key
from ggufkit.mapping.spec import Architecture
from tests.architectures.evidence import evidence

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architectures.md"
MARK = "<!-- architectures: made by scripts/make_architecture_reference.py -->\n"
END = "<!-- end of architectures -->"
ROW = re.compile(r"^\| ([^|`]+) \| `([^`]+)` \| `([^`]+)`.*\|$", re.MULTILINE)


def known(page: str) -> dict[str, dict[str, Any]]:
    """Return what is known of every family, by its key; titles are those of the page's rows."""
    titles = {f"{name} {first}": title for title, name, first in ROW.findall(page)}
    shown = evidence()
    untitled = shown.keys() - titles.keys()
    if untitled:
        sys.exit(
            "docs/architectures.md needs lines that say what people call these models, "
            "| Title | `name` | `Class` | |: " + ", ".join(sorted(untitled))
        )
    return {key: {"title": titles[key], "evidence": kinds} for key, kinds in sorted(shown.items())}


def table(families: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table, in the order of names."""
    yield "| models | `general.architecture` | classes | verified by |"
    yield "|---|---|---|---|"
    for key, architecture in sorted(by_key().items(), key=lambda item: item[1].name):
        family = families[key]
        yield f"| {family['title']} | {_code(architecture)} | {', '.join(family['evidence'])} |"


def _code(architecture: Architecture) -> str:
    classes = ", ".join(f"`{name}`" for name in architecture.hf_classes)
    return f"`{architecture.name}` | {classes}"


def filled(page: str, families: dict[str, dict[str, Any]]) -> str:
    """Return the page with the table between its marks made anew."""
    made = MARK + "\n" + "\n".join(table(families)) + "\n\n" + END
    return re.sub(f"{re.escape(MARK)}.*?{re.escape(END)}", lambda _: made, page, flags=re.S)


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    found = known(old)
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(found[key])}" for key in found)
    for path, text in ((PAGE, filled(old, found)), (DATA, f"{{\n{lines}\n}}\n")):
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{path.relative_to(ROOT)} is out of date: "
                "run scripts/make_architecture_reference.py"
            )
