"""Fuzz every reader of files from strangers; write what happened to a log.

Without --coverage: structured mutants, which get behind the magic. With it: atheris, which
follows the code's branches from the same seeds, for --seconds per target. What breaks a promise
(another exception than ggufkit's own, more than 2 seconds) is kept in the folder --findings; fixed,
it goes to tests/fuzzing/regressions/TARGET-NAME.bin. The log of the last full run is
docs/trust/fuzz.json.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rich.progress import MofNCompleteColumn, Progress  # noqa: E402

from ggufkit.version import __version__  # noqa: E402
from tests.fuzzing.campaign import fuzz, peak_memory, try_one  # noqa: E402
from tests.fuzzing.targets import Target, all_targets  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--mutants", type=int, default=100_000, help="in all; default: %(default)s")
    add("--seed", type=int, default=0)
    add("--target", action="append", help="only this one; may be given again")
    add("--coverage", action="store_true", help="let atheris choose the mutants")
    add("--seconds", type=int, default=60, help="of atheris, for each target")
    add("--findings", type=Path, default=ROOT / "build" / "fuzz")
    add("--log", type=Path, default=ROOT / "docs" / "trust" / "fuzz.json")
    add("--one", help=argparse.SUPPRESS)  # the process of atheris for one target
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        targets = all_targets(Path(folder))
        if args.one:
            return follow_coverage(targets[args.one], args.seconds, args.findings / args.one)
        targets = {n: t for n, t in targets.items() if not args.target or n in args.target}
        if args.coverage:
            return run_atheris(args, list(targets))
        return run_mutants(args, targets)


def run_mutants(args: argparse.Namespace, targets: dict[str, Target]) -> int:
    started = time.monotonic()
    shares = sum(target.share for target in targets.values())
    log: dict[str, object] = {"version": __version__, "seed": args.seed, "targets": {}}
    total = n_findings = 0
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        for name, target in targets.items():
            n = math.ceil(args.mutants * target.share / shares)
            bar = progress.add_task(name, total=n)
            found = fuzz(
                name, target, n, args.seed, args.findings, lambda bar=bar: progress.advance(bar)
            )
            log["targets"][name] = {
                "mutants": found.mutants,
                "accepted": found.accepted,
                "refused": found.refused,
                "findings": len(found.findings),
                "slowest, s": round(found.slowest, 3),
            }
            total += found.mutants
            n_findings += len(found.findings)
    log |= {"mutants": total, "findings": n_findings, "peak memory, MB": peak_memory() // 10**6}
    log["seconds"] = round(time.monotonic() - started)
    args.log.parent.mkdir(parents=True, exist_ok=True)
    args.log.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(log, indent=1))
    return int(n_findings > 0)


def run_atheris(args: argparse.Namespace, names: list[str]) -> int:
    worst = 0
    for name in names:
        command = [sys.executable, __file__, "--one", name, "--seconds", str(args.seconds)]
        print(f"== {name}", flush=True)
        done = subprocess.run([*command, "--findings", args.findings], check=False)
        worst = max(worst, done.returncode)
    return worst


def follow_coverage(target: Target, seconds: int, findings: Path) -> int:
    import atheris

    for module in [m for n, m in sys.modules.items() if n.startswith("ggufkit.")]:
        for name, function in list(vars(module).items()):
            if callable(function) and getattr(function, "__module__", "") == module.__name__:
                try:
                    setattr(module, name, atheris.instrument_func(function))
                except (TypeError, AttributeError, ValueError):
                    continue  # a class
    corpus = findings / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds):
        (corpus / f"seed-{i}").write_bytes(seed)

    def one(data: bytes) -> None:
        problem = try_one(target, data)
        if problem:
            raise RuntimeError(problem)

    options = [f"-max_total_time={seconds}", "-timeout=2", "-rss_limit_mb=1000", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={findings}/", str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
