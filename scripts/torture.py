"""Stop ladders and edits hundreds of times and fill disks; write what happened to a log.

The log of the last full run is docs/trust/torture.json; scripts/make_trust_reference.py makes the
table of docs/trust.md from it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.progress import Progress  # noqa: E402

from ggufkit.version import __version__  # noqa: E402
from tests import torture  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=200, help="SIGKILLs of ladders; default: %(default)s")
    add("--edits", type=int, default=100, help="SIGKILLs of edits; default: %(default)s")
    add("--interrupts", type=int, default=20, help="SIGINTs and SIGTERMs; default: %(default)s")
    add("--disks", type=int, default=20, help="disks that become full; default: %(default)s")
    add("--seed", type=int, default=0)
    add("--log", type=Path, default=ROOT / "docs" / "trust" / "torture.json")
    args = parser.parse_args()
    log: dict[str, object] = {
        "version": __version__,
        "seed": args.seed,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        case = torture.Case(Path(folder))
        rng = random.Random(args.seed)

        def attempt(name: str, n: int, run: Callable[..., torture.Counts], *given: object) -> None:
            bar = progress.add_task(name, total=n)
            log[name] = run(*given, rng, lambda: progress.advance(bar))

        kill, interrupt, end = signal.SIGKILL, signal.SIGINT, signal.SIGTERM
        attempt("kill -9 of a ladder", args.kills, torture.stop_ladders, case, args.kills, kill)
        n = args.interrupts
        attempt("SIGINT to a ladder", n, torture.stop_ladders, case, n, interrupt)
        attempt("SIGTERM to a ladder", n, torture.stop_ladders, case, n, end)
        attempt("full disks", args.disks, torture.fill_disks, case, args.disks)
        edits = args.edits
        attempt("kill -9 of an edit", edits, torture.stop_edits, Path(folder), edits)
    log["seconds"] = round(time.monotonic() - started)
    args.log.parent.mkdir(parents=True, exist_ok=True)
    args.log.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(log, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
