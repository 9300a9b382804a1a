"""The real llama.cpp, from the package xllamacpp, in a process of its own.

python llama_cpp.py complete PROMPT FILE...     the continuation by each file, as JSON
python llama_cpp.py embed TEXT FILE...          the embedding by each file, as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def ask(what: str, text: str, files: Sequence[Path]) -> dict[str, Any]:
    """Return each file's answer by file name."""
    command = [sys.executable, __file__, what, text, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


def _answer(what: str, text: str, file: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = -1
    params.embedding = what == "embed"
    server = xllamacpp.Server(params)
    if what == "embed":
        reply = server.handle_embeddings({"input": [text]})
        return _loaded(reply)["data"][0]["embedding"]
    reply = server.handle_completions({"prompt": text, "n_predict": 4, "temperature": 0})
    return _loaded(reply)["choices"][0]["text"]


def _loaded(reply: Any) -> Any:
    return json.loads(reply) if isinstance(reply, str | bytes) else reply


if __name__ == "__main__":
    what, text, *files = sys.argv[1:]
    answers = {Path(file).name: _answer(what, text, file) for file in files}
    sys.stdout.write("\n" + json.dumps(answers) + "\n")
