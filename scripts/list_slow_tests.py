"""Write tests/slow.txt: the tests that `scripts/test --fast` leaves out for their time alone.

    scripts/test --junitxml run.xml && .venv/bin/python scripts/list_slow_tests.py run.xml

A line is a test, or a case of it; where half of the cases are slow, all are left out.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tests" / "slow.txt"
SECONDS = 0.07


def slow_tests(run: Path) -> Iterator[str]:
    """Yield the names of slow tests, as ``package.module::test[case]``."""
    cases: dict[str, dict[str, float]] = defaultdict(dict)
    for case in ET.parse(run).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        cases[name.split("[")[0]][name] = float(case.get("time", 0))
    for test, times in sorted(cases.items()):
        slow = sorted(name for name, seconds in times.items() if seconds >= SECONDS)
        yield from [test] if 2 * len(slow) >= len(times) else slow


if __name__ == "__main__":
    names = list(slow_tests(Path(sys.argv[1])))
    TARGET.write_text("".join(f"{name}\n" for name in names if name.isprintable()))
    print(f"{TARGET}: {len(names)} tests of {SECONDS} s or more")
