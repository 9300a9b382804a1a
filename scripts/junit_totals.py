"""Print how many tests the JUnit files of pytest count, as JSON by file."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

COUNTS = ("tests", "failures", "errors", "skipped")

if __name__ == "__main__":
    totals = {}
    for name in sys.argv[1:]:
        suites = ET.parse(name).getroot().iter("testsuite")
        found = [{count: int(suite.get(count, 0)) for count in COUNTS} for suite in suites]
        totals[Path(name).stem] = {count: sum(s[count] for s in found) for count in COUNTS}
    print(json.dumps(totals, indent=1))
