"""One ladder on one and on two workers of a Dask cluster on this machine, and without a cluster."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.converter.test_cluster import scheduler, worker  # noqa: E402
from tests.llama import write_llama  # noqa: E402
from tests.torture import digests  # noqa: E402

CONVERT = "import sys; from ggufkit.cli.main import main; sys.exit(main(sys.argv[1:]))"


def convert(source: Path, out: Path, ladder: str, *options: str) -> float:
    """Return the seconds of the whole command."""
    command = [sys.executable, "-c", CONVERT, "convert", source, "-o", out, "--ladder", ladder]
    start = time.perf_counter()
    subprocess.run([*command, "-q", *options], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=0.5, help="size of the checkpoint")
    parser.add_argument("--ladder", default="Q2_K:Q8_0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        n_layers = max(1, round(args.gb * 1e9 / (2 * (4 * 2048**2 + 3 * 2048 * 5632))))
        source = write_llama(folder / "bench", n_layers=n_layers, hidden=2048, ffn=5632, vocab=4096)
        seconds = {
            "1 thread": convert(source, folder / "t1", args.ladder, "-j1"),
            "2 threads": convert(source, folder / "t2", args.ladder, "-j2"),
        }
        for n in (1, 2):
            with scheduler() as address, ExitStack() as workers:
                for i in range(n):
                    workers.enter_context(worker(address, folder / f"worker{i}"))
                time.sleep(5)  # for them to begin
                name = f"{n} worker{'s' if n > 1 else ''}"
                options = ("--executor", f"dask:{address}")
                seconds[name] = convert(source, folder / f"w{n}", args.ladder, *options)
        same = digests(folder / "t1") == digests(folder / "w2")
    for name, took in seconds.items():
        print(f"{name:12}{took:8.1f} s")
    print(f"threads, 2 over 1   {seconds['1 thread'] / seconds['2 threads']:.2f}")
    print(f"workers, 2 over 1   {seconds['1 worker'] / seconds['2 workers']:.2f}")
    print(f"same bytes          {same}")


if __name__ == "__main__":
    main()
