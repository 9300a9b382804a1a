"""Opening a file and printing its metadata: ggufkit's inspect beside gguf-py's reader."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GGUF_PY = "import sys, gguf; r = gguf.GGUFReader(sys.argv[1]); print(len(r.fields))"


def seconds(command: list[str]) -> float:
    """Return the least wall time of three runs, start of the interpreter included."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    path = str(parser.parse_args().file.resolve())
    ours = seconds([sys.executable, "-m", "ggufkit.cli.main", "inspect", path])
    theirs = seconds([sys.executable, "-c", GGUF_PY, path])
    print(f"ggufkit inspect  {ours:6.3f} s")
    print(f"gguf-py reader   {theirs:6.3f} s")
    print(f"ratio            {theirs / ours:6.1f}")


if __name__ == "__main__":
    main()
