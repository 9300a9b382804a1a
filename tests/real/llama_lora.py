"""The real llama.cpp with an adapter, in a process of its own.

python llama_lora.py PROMPT MODEL [ADAPTER]     probabilities of the next token, as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def next_token(prompt: str, model: Path, adapter: Path | None = None) -> dict[int, float]:
    """Return the most likely next tokens and the logarithms of their probabilities."""
    command = [sys.executable, __file__, prompt, str(model), *([str(adapter)] if adapter else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    found = json.loads(done.stdout.splitlines()[-1])
    return {entry["id"]: entry["logprob"] for entry in found}


def _main(prompt: str, model: str, *adapters: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = -1
    infos = []
    for adapter in adapters:
        info = xllamacpp.CommonAdapterLoraInfo()
        info.path, info.scale = adapter, 1.0
        infos.append(info)
    params.lora_adapters = infos
    server = xllamacpp.Server(params)
    request = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 20}
    reply = server.handle_completions(request)
    reply = json.loads(reply) if isinstance(reply, str | bytes) else reply
    top = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    sys.stdout.write("\n" + json.dumps(top) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
