"""What the real llama.cpp allocates for a model: from its log, by a process of its own.

python llama_memory.py FILE CONTEXT TYPE_K TYPE_V PARALLEL     writes llama.cpp's log to stderr
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_BUFFER = re.compile(r"(\S+?): +(\S+) +(model|KV|RS|compute|output) buffer size = +([\d.]+) MiB")
_MIB = 1 << 20
_ERROR = 0.0051 * _MIB  # of numbers with two decimals


@dataclass(frozen=True)
class Allocated:
    """Bytes that llama.cpp allocated; `rounding` is how wrong the sums in its log can be."""

    model: float
    cache: float
    state: float
    compute: float
    rounding: float


def allocated(
    file: Path, context: int, k: str = "f16", v: str = "f16", parallel: int = 1
) -> Allocated:
    """Load a file and return what llama.cpp says about its buffers."""
    command = [sys.executable, __file__, str(file), str(context), k, v, str(parallel)]
    log: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as running:
        for line in running.stderr or ():
            log.append(line)
            if "sched_reserve: graph" in line:  # all is allocated
                break
        running.kill()
    found: dict[str, list[float]] = {}
    for _, device, kind, size in _BUFFER.findall("".join(log)):
        # repacked weights replace those that are mapped
        if device != "CPU_REPACK":
            found.setdefault(kind, []).append(float(size) * _MIB)
    assert "compute" in found, "".join(log[-20:])
    sums = {kind: sum(sizes) for kind, sizes in found.items()}
    return Allocated(
        sums["model"],
        sums.get("KV", 0.0),
        sums.get("RS", 0.0),
        sums["compute"],
        _ERROR * max(map(len, found.values())),
    )


def _load(file: str, context: int, k: str, v: str, parallel: int) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = context
    params.n_batch = 2048
    params.n_ubatch = 512
    params.n_parallel = parallel
    params.warmup = False
    params.fit_params = False
    params.verbosity = 4
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{v.upper()}")
    xllamacpp.Server(params)
    # the log is written by a thread of its own
    sys.stderr.flush()


if __name__ == "__main__":
    file, context, k, v, parallel = sys.argv[1:]
    _load(file, int(context), k, v, int(parallel))
    os._exit(0)
