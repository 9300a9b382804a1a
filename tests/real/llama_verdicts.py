"""The real llama.cpp's verdict about the headers of many files, each loaded by a child process.

python llama_verdicts.py FOLDER     reads FOLDER/*.gguf, writes a line of JSON per file
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ggufkit.publish.llama_cpp.api import _LOG, _library


def verdicts(folder: Path) -> dict[str, str]:
    """Return whether llama.cpp loads each file of a folder: ``ok``, or what it says."""
    command = [sys.executable, "-m", "tests.real.llama_verdicts", str(folder)]
    # without this it calls a debugger when it aborts
    env = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=900)
    lines = (line for line in done.stdout.splitlines() if line.startswith('["'))
    return dict(json.loads(line) for line in lines)


def _load(path: Path) -> str:
    library, said = _library(), []

    def note(level: int, text: bytes, _: object) -> None:
        if level >= 4 and text.strip():
            said.append(text.decode(errors="replace").strip())

    log = _LOG(note)
    library.llama_log_set(log, None)
    library.llama_backend_init()
    loaded = library.llama_model_load_from_file(
        str(path).encode(), library.llama_model_default_params()
    )
    return "ok" if loaded else (said[0] if said else "it says nothing")


def _verdict(path: Path) -> str:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, _load(path).encode()[:2000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return said or f"it ended with {status}"


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for file in sorted(Path(sys.argv[1]).glob("*.gguf")):
        sys.stdout.write(json.dumps([file.stem, _verdict(file)]) + "\n")
