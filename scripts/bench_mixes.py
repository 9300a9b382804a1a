"""Mixes against fixed recipes of the same size: KL divergence from the source, in llama.cpp.

Sensitivities are learned on the first part of the text, and everything is rated on the rest.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ggufkit.converter.ladder import open_source, plan_ladder, run_plan  # noqa: E402
from ggufkit.converter.mix.budget import Budget, MixOptions  # noqa: E402
from ggufkit.converter.mix.measure import measure_errors  # noqa: E402
from ggufkit.converter.mix.result import Limit  # noqa: E402
from ggufkit.converter.mix.sensitivity import DEFAULT, Sensitivity  # noqa: E402
from ggufkit.converter.planning.rules import Recipe  # noqa: E402
from ggufkit.converter.sources.base import Source  # noqa: E402
from ggufkit.publish.evaluate import Quality, measure  # noqa: E402
from ggufkit.publish.sensitivity import learn  # noqa: E402

JOBS = os.cpu_count() or 1


def recipes(
    source: Source, sizes: Sequence[str], options: Sequence[tuple[str, MixOptions]]
) -> list[Recipe]:
    """Return a mix of each kind for each size."""
    found = []
    for name, option in options:
        budget = Budget.of(source, option)
        with ThreadPoolExecutor(JOBS) as pool:
            errors = measure_errors(budget.fixed, budget.choices, pool=pool, jobs=JOBS)
        for size in sizes:
            rung = next(r for r in budget.fixed.rungs if r.name == size)
            limit = Limit.of_bytes(f"{size}_{name}", rung.n_bytes)
            found.append(budget.find(limit, errors).recipe)
    return found


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="GGUF file")
    parser.add_argument("--text", type=Path, required=True, help="prose")
    parser.add_argument("--sizes", default="Q4_K_M,Q3_K_M,Q2_K", help="file types to beat")
    parser.add_argument("--chunks", type=int, default=8, help="chunks of 512 tokens for each part")
    parser.add_argument("--sensitivity", type=Path, help="file of an earlier run, not learned anew")
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8")
    seen, held_out = text[: len(text) // 2], text[len(text) // 2 :]
    source = open_source(args.model, allow_requantize=True)
    if args.sensitivity and args.sensitivity.exists():
        learned = Sensitivity.read(args.sensitivity)
    else:
        learned = learn(source, seen, n_chunks=args.chunks, jobs=JOBS)
        if args.sensitivity:
            learned.write(args.sensitivity)
    sizes = args.sizes.split(",")
    kinds = [
        ("LEARNED", MixOptions(sensitivity=learned)),
        ("DEFAULT", MixOptions(sensitivity=DEFAULT)),
        # a source that is quantized itself makes its own types look better than they would be
        ("INEXACT", MixOptions(sensitivity=learned, exact=False)),
        ("INEXACT_DEFAULT", MixOptions(sensitivity=DEFAULT, exact=False)),
    ]
    mixes = recipes(source, sizes, kinds)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_ladder(source, folder, args.sizes, recipes=mixes)
        run_plan(plan, jobs=JOBS, report=False)
        paths = [rung.parts[0].path for rung in plan.rungs]
        found = measure(args.model, paths, held_out, n_chunks=args.chunks)
        print(
            f"{args.model.name}: perplexity {found[0].perplexity:.4f}, {found[0].n_tokens} tokens"
        )
        for rung, quality in sorted(
            zip(plan.rungs, found[1:], strict=True), key=lambda pair: pair[0].recipe.file_type
        ):
            print(row(rung.name, rung.n_bytes, quality))


def row(name: str, n_bytes: int, quality: Quality) -> str:
    """Return a line of the table."""
    return (
        f"{name:24}{n_bytes:14,}  {quality.kl_divergence:9.5f} ± {quality.kl_error:.5f}"
        f"  {quality.same_top or 0:.1%}  {quality.perplexity:.3f}"
    )


if __name__ == "__main__":
    main()
