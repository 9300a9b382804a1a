"""Write what is claimed of architectures from the tests' data; with --check, fail if out of date.

That is the table of docs/architectures.md, and ggufkit/architectures/evidence.json, which the
package reads.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ggufkit.architectures.catalog import DATA, by_key
from ggufkit.mapping.spec import Architecture
from tests.architectures.evidence import evidence

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architectures.md"
MARK = "<!-- architectures: made by scripts/make_architecture_reference.py -->\n"
END = "<!-- end of architectures -->"


def known() -> dict[str, list[str]]:
    """Return what was shown of every family, by its key."""
    untitled = sorted(key for key, architecture in by_key().items() if not architecture.title)
    if untitled:
        sys.exit("these architectures need a title, what people call them: " + ", ".join(untitled))
    return dict(sorted(evidence().items()))


def table(shown: dict[str, list[str]]) -> Iterator[str]:
    """Yield the lines of the table, in the order of names."""
    yield "| models | `general.architecture` | classes | verified by |"
    yield "|---|---|---|---|"
    for key, architecture in sorted(by_key().items(), key=lambda item: item[1].name):
        yield f"| {architecture.title} | {_code(architecture)} | {', '.join(shown[key])} |"


def _code(architecture: Architecture) -> str:
    classes = ", ".join(f"`{name}`" for name in architecture.hf_classes)
    return f"`{architecture.name}` | {classes}"


def filled(page: str, shown: dict[str, list[str]]) -> str:
    """Return the page with the table between its marks made anew."""
    made = MARK + "\n" + "\n".join(table(shown)) + "\n\n" + END
    return re.sub(f"{re.escape(MARK)}.*?{re.escape(END)}", lambda _: made, page, flags=re.S)


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    found = known()
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(found[key])}" for key in found)
    for path, text in ((PAGE, filled(old, found)), (DATA, f"{{\n{lines}\n}}\n")):
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{path.relative_to(ROOT)} is out of date: "
                "run scripts/make_architecture_reference.py"
            )
