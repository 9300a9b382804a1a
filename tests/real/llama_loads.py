"""The real llama.cpp, loading files and computing with them, in a process of its own.

python llama_loads.py FILE...     what became of each file, one JSON object a line
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ggufkit.publish.llama_cpp.api import LoadError, Model, _Batch

TOKENS = [1, 5, 298, 290, 7]


def load_and_run(files: Sequence[Path]) -> dict[str, str]:
    """Return what became of each file, by name: ``ok``, or llama.cpp's complaint."""
    found: dict[str, str] = {}
    while left := [file for file in files if file.name not in found]:
        command = [sys.executable, "-m", "tests.real.llama_loads", *map(str, left)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        for line in done.stdout.splitlines():
            if line.startswith('{"file"'):
                answer = json.loads(line)
                found[answer["file"]] = answer["result"]
        if done.returncode:  # llama.cpp ended the process at the next of them
            ended = next(file for file in left if file.name not in found)
            found[ended.name] = f"the process ended with {done.returncode}"
    return found


def _results(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    for file in files:
        try:
            yield file, _compute(Model(file, 64))
        except LoadError as error:
            yield file, str(error)


def _compute(model: Any) -> str:
    """Have a model compute with `TOKENS`: an encoder encodes them, another one continues them."""
    library = model._lib
    library.llama_model_has_encoder.restype = ctypes.c_bool
    ids = (ctypes.c_int32 * len(TOKENS))(*TOKENS)
    batch = _Batch(len(TOKENS), ctypes.cast(ids, ctypes.c_void_p), *[None] * 5)
    encodes = library.llama_model_has_encoder(model._model)
    compute = library.llama_encode if encodes else library.llama_decode
    status = compute(model._context, batch)
    return f"it computes nothing: {status}" if status else "ok"


if __name__ == "__main__":
    for file, result in _results(sys.argv[1:]):
        line = json.dumps({"file": Path(file).name, "result": result})
        sys.stdout.write(f"\n{line}\n")
        sys.stdout.flush()
