# ruff: noqa: E501 - the page is wider than code
"""Write docs/trust.md from the logs of the last full runs, or check that it is up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "docs" / "trust"
PAGE = ROOT / "docs" / "trust.md"

HEAD = """\
# What was tried, and what happened

Made by `scripts/make_trust_reference.py` from the logs of the last full runs, which are in `docs/trust`.
[The security page](security.md) says what is promised; this one, how often it was put to the test. Short
versions of all of it run with the tests.

"""


def log(name: str) -> dict[str, Any]:
    return json.loads((LOGS / f"{name}.json").read_text(encoding="utf-8"))


def fuzzing() -> str:
    found = log("fuzz")
    rows = [
        f"| {name} | {t['mutants']} | {t['accepted']} | {t['refused']} | {t['findings']} "
        f"| {t['slowest, s']:.3f} s |"
        for name, t in found["targets"].items()
    ]
    return "\n".join(
        [
            "## Mutated files",
            "",
            f"`scripts/fuzz.py`, version {found['version']}, seed {found['seed']}: "
            f"{found['mutants']} mutants of well-formed files in {found['seconds']} s. Mutations set",
            "counts, lengths, types and offsets to numbers that have broken readers, splice and cut;",
            "JSON is changed as a tree, pickles by opcode. A finding is any exception but ggufkit's",
            "own, or a reading of more than 2 s. The process peaked at "
            f"{found['peak memory, MB']} MB. (`check` reports what it",
            "finds and refuses nothing.)",
            "",
            "| reader | mutants | read | refused | findings | slowest |",
            "|---|---|---|---|---|---|",
            *rows,
            f"| **all** | **{found['mutants']}** | | | **{found['findings']}** | |",
        ]
    )


def stopping() -> str:
    found = log("torture")
    names = {
        "stops": "stopped",
        "completed runs": "runs that completed",
        "files published when stopped": "complete files found meanwhile",
        "slowest stop, s": "slowest to stop, s",
        "disks": "disks",
        "refused at the start": "refused at the start",
        "full during the run": "full during the run",
        "kills": "killed",
        "journals found": "journals found",
        "old file": "old file afterwards",
        "new file": "new file afterwards",
    }
    rows = [
        f"| {what} | {', '.join(f'{names[k]}: {v}' for k, v in counts.items())} |"
        for what, counts in found.items()
        if isinstance(counts, dict)
    ]
    return "\n".join(
        [
            "## Stopped runs and full disks",
            "",
            f"`scripts/torture.py`, version {found['version']}, seed {found['seed']}, "
            f"{found['seconds']} s on {found['cpus']} CPUs: ladders of four file types and",
            "edits in place, stopped at random moments; each run goes on where the last one was. After",
            "every stop each file with a final name was compared with its SHA-256, and in the end all of",
            "them; the files themselves were decoded in full. Wrong files: none.",
            "",
            "| what | outcome |",
            "|---|---|",
            *rows,
        ]
    )


def sanitizers() -> str:
    found = log("sanitize")
    rows = [
        f"| {level} | {c['tests'] - c['skipped']} | {c['failures'] + c['errors']} |"
        for level, c in found.items()
    ]
    return "\n".join(
        [
            "## Sanitizers",
            "",
            "`scripts/sanitize`: the C kernels, built with AddressSanitizer and UBSan, under the tests of",
            "kernels and codecs and the short fuzzing campaign, once per instruction level.",
            "",
            "| level | tests | failures |",
            "|---|---|---|",
            *rows,
        ]
    )


def main() -> int:
    page = HEAD + "\n\n".join([fuzzing(), stopping(), sanitizers()]) + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write("docs/trust.md is out of date: run scripts/make_trust_reference.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
