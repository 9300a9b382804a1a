"""Run many mutants, and count what becomes of them."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ggufkit.errors import GGUFKitError
from tests.fuzzing.targets import Target

SLOWEST = 2.0  # seconds
MOST_MEMORY = 300_000_000  # bytes, of the process


@dataclass
class Outcome:
    """What became of a target's mutants."""

    mutants: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    findings: list[Path] = field(default_factory=list)


def fuzz(
    name: str,
    target: Target,
    n: int,
    seed: int,
    findings: Path,
    tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Run `n` mutants of a target; those that break a promise go to the folder `findings`."""
    rng = random.Random(f"{name} {seed}")
    outcome = Outcome()
    for _ in range(n):
        data = target.mutate(rng.choice(target.seeds), rng)
        started = time.perf_counter()
        problem = try_one(target, data, outcome)
        took = time.perf_counter() - started
        outcome.slowest = max(outcome.slowest, took)
        if took > SLOWEST:
            problem = problem or f"took {took:.1f} s"
        if problem:
            findings.mkdir(parents=True, exist_ok=True)
            path = findings / f"{name}-{len(outcome.findings)}.bin"
            path.write_bytes(data)
            path.with_suffix(".txt").write_text(problem)
            outcome.findings.append(path)
        outcome.mutants += 1
        tick()
    return outcome


def try_one(target: Target, data: bytes, outcome: Outcome | None = None) -> str:
    """Run one mutant; return what was wrong with how it was read, empty if nothing."""
    outcome = outcome or Outcome()
    try:
        target.run(data)
    except GGUFKitError:
        outcome.refused += 1
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        outcome.accepted += 1
    return ""


def peak_memory() -> int:
    """Return the most bytes that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
