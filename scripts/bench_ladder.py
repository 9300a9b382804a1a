"""A whole ladder of a synthetic llama checkpoint: wall time, peak memory, and ggml beside it.

ggml's time is that of ``ggml_quantize_chunk`` alone, without reading or writing: for every rung,
the weights of each type at the rate measured here, in this run, on a sample and as many threads.
With --llama-quantize, that program makes every rung too, from a BF16 file, and bytes are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from ggufkit import convert
from ggufkit.codecs import quantize
from ggufkit.types import TensorType
from tests.ggml import load_ggml
from tests.llama import write_llama

# Rungs of the README's table.
LADDER = "Q2_K,Q3_K_S,Q3_K_M,Q3_K_L,Q4_0,Q4_K_S,Q4_K_M,Q5_0,Q5_K_S,Q5_K_M,Q6_K,Q8_0"

CHILD = """
import json, resource, sys, time
from collections import Counter
from ggufkit import convert
from ggufkit.converter.execution import execute, manifest
from ggufkit.converter.sources.row_readers import CheckpointReader
spent = Counter()

def timed(what, owner, name):
    real = getattr(owner, name)
    def measured(*a, **k):
        start = time.thread_time()
        try:
            return real(*a, **k)
        finally:
            spent[what] += time.thread_time() - start
    setattr(owner, name, measured)

timed("encoding", execute, "quantize")
timed("errors of weights", execute.Rows, "errors")
timed("reading and widening", CheckpointReader, "read")
timed("writing", execute, "write_into_partial")
timed("SHA-256", manifest, "sha256_of")
start = time.perf_counter()
ladder = convert(sys.argv[1], sys.argv[2], ladder=sys.argv[3], jobs=int(sys.argv[4]))
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
spent["everything else"] = used.ru_utime + used.ru_stime - spent.total()
print(json.dumps({
    "seconds": seconds,
    "spent": spent,
    "peak_kb": used.ru_maxrss,
    "rungs": {
        rung.name: [
            [rung.targets[tensor.name].type.name, tensor.n_rows * tensor.n_cols]
            for tensor in ladder.plan.source.tensors
        ]
        for rung in ladder.plan.rungs
    },
}))
"""


def rate(encode, values: np.ndarray, jobs: int) -> float:
    """Return weights per second of `encode` over `values`, cut into a part per thread."""
    parts = np.array_split(values, jobs * 4)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(encode, parts[:1]))
        start = time.perf_counter()
        list(pool.map(encode, parts))
        return values.size / (time.perf_counter() - start)


def llama_quantize(program: Path, source: Path, jobs: int) -> float:
    """Return the seconds that the program takes for the rungs of ``out``, which must be equal."""
    base = source.parent / "bf16.gguf"
    convert(source, base, ladder="BF16")
    seconds, theirs = 0.0, source.parent / "theirs.gguf"
    for ours in sorted((source.parent / "out").glob("*.gguf")):
        name = ours.stem.rpartition("-")[2]
        start = time.perf_counter()
        subprocess.run([program, base, theirs, name, str(jobs)], check=True, capture_output=True)
        seconds += time.perf_counter() - start
        subprocess.run(["cmp", ours, theirs], check=True)
    return seconds


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0, help="size of the checkpoint")
    parser.add_argument("--ladder", default=LADDER)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--llama-quantize", type=Path, metavar="PROGRAM")
    args = parser.parse_args()
    ggml = load_ggml()
    with tempfile.TemporaryDirectory() as scratch:
        per_layer = 2 * (4 * 2048**2 + 3 * 2048 * 5632)
        n_layers = max(1, round(args.gb * 1e9 / per_layer))
        source = write_llama(
            Path(scratch) / "bench", n_layers=n_layers, hidden=2048, ffn=5632, vocab=4096
        )
        size = (source / "model.safetensors").stat().st_size
        command = [sys.executable, "-c", CHILD, source, Path(scratch) / "out", args.ladder]
        done = subprocess.run([*command, str(args.jobs)], check=True, capture_output=True)
        run = json.loads(done.stdout)
        if args.llama_quantize:
            run["llama-quantize"] = llama_quantize(args.llama_quantize, source, args.jobs)

    values = np.random.default_rng(0).standard_normal((2048, 4096), np.float32)
    rates: dict[str, tuple[float, float]] = {}
    totals: Counter[str] = Counter()
    for tensors in run["rungs"].values():
        for name, n in tensors:
            totals[name] += n
    for name in totals:
        tensor_type = TensorType[name]
        ours = rate(lambda part, t=tensor_type: quantize(part, t), values, args.jobs)
        theirs = (
            rate(lambda part, t=tensor_type: ggml.quantize(part, t), values, args.jobs)
            if tensor_type is not TensorType.F32
            else float("inf")
        )
        rates[name] = ours, theirs
    ggml_seconds = sum(n / rates[name][1] for name, n in totals.items())

    print(f"checkpoint {size / 1e9:.2f} GB, {len(run['rungs'])} rungs, {args.jobs} threads")
    print(f"{'type':8}{'M weights':>12}{'ours M/s':>12}{'ggml M/s':>12}{'ratio':>8}")
    for name, n in sorted(totals.items(), key=lambda item: -item[1]):
        ours, theirs = rates[name]
        print(f"{name:8}{n / 1e6:12.1f}{ours / 1e6:12.1f}{theirs / 1e6:12.1f}{ours / theirs:8.1f}")
    print(f"ladder, everything included  {run['seconds']:8.1f} s")
    for what, cpu in sorted(run["spent"].items(), key=lambda pair: -pair[1]):
        print(f"  {what:26}{cpu:9.1f} s of CPU time")
    print(f"ggml_quantize_chunk alone    {ggml_seconds:8.1f} s")
    print(f"ratio                        {ggml_seconds / run['seconds']:8.1f}")
    if args.llama_quantize:
        theirs = run["llama-quantize"]
        print(f"llama-quantize, same bytes   {theirs:8.1f} s")
        print(f"ratio                        {theirs / run['seconds']:8.1f}")
    print(f"peak memory                  {run['peak_kb'] / 1e3:8.0f} MB")


if __name__ == "__main__":
    main()
