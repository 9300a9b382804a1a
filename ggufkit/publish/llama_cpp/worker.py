"""A process that runs one model: a JSON request on standard input, events on standard output.

Every line of output is a JSON object with one key: ``piece`` (generated text), ``step``
(chunks done so far), ``result`` or ``error``. See `ggufkit.publish.evaluate` for the requests.
"""

from __future__ import annotations

import codecs
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ggufkit.arrays import Floats
from ggufkit.publish.llama_cpp.api import LoadError, Model


def generate(path: str, prompt: str, n_predict: int, n_ctx: int) -> Iterator[dict[str, Any]]:
    """Continue a prompt, always with the most likely token."""
    started = time.perf_counter()
    model = Model(path, n_ctx)
    loaded = time.perf_counter()
    tokens = model.tokenize(prompt)
    if len(tokens) + n_predict > n_ctx:
        raise LoadError(f"{len(tokens)} tokens and {n_predict} more exceed a context of {n_ctx}")
    token = int(model.logits(tokens)[0].argmax())
    read = time.perf_counter()
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    n = 0
    while not model.ends(token) and n < n_predict:
        yield {"piece": decoder.decode(model.piece(token))}
        token = int(model.logits([token])[0].argmax())
        n += 1
    done = time.perf_counter()
    yield {"piece": decoder.decode(b"", final=True)}
    yield {
        "result": {
            "load_seconds": loaded - started,
            "prompt_per_second": len(tokens) / (read - loaded),
            "tokens_per_second": n / (done - read) if n else 0.0,
        }
    }


def measure(
    path: str, text: str, n_ctx: int, n_chunks: int, base: str | None, save: str | None
) -> Iterator[dict[str, Any]]:
    """Measure how well a model predicts a text, and how far its predictions are from a base's.

    Like llama-perplexity, it uses chunks of `n_ctx` tokens, and only the second half of each
    counts, as the first has too little context. The base's log-probabilities are a float32 file
    (chunks, positions, vocabulary), written by a run with `save`.
    """
    model = Model(path, n_ctx)
    bos = model.bos()
    tokens = model.tokenize(text, special=False)
    n_chunks = min(n_chunks or len(tokens), len(tokens) // n_ctx)
    if not n_chunks:
        raise LoadError(f"the text has {len(tokens)} tokens, one chunk takes {n_ctx}")
    first = n_ctx // 2
    shape = (n_chunks, n_ctx - first - 1, model.n_vocab)
    saved = None if save is None else np.memmap(save, np.float32, "w+", shape=shape)
    given = None if base is None else np.memmap(base, np.float32, "r", shape=shape)
    losses: list[Floats] = []
    divergences: list[Floats] = []
    n_same = 0
    for chunk in range(n_chunks):
        wanted = tokens[chunk * n_ctx : (chunk + 1) * n_ctx]
        read = wanted if bos is None else [bos, *wanted[1:]]
        model.forget()
        found = log_softmax(model.logits(read, n_ctx - first)[:-1])
        losses.append(-np.take_along_axis(found, np.array(wanted[first + 1 :])[:, None], 1)[:, 0])
        if saved is not None:
            saved[chunk] = found
        if given is not None:
            reference = np.asarray(given[chunk])
            divergences.append((np.exp(reference) * (reference - found)).sum(1))
            n_same += int((reference.argmax(1) == found.argmax(1)).sum())
        yield {"step": chunk + 1}
    loss = np.concatenate(losses).astype(np.float64)
    result: dict[str, Any] = {
        "perplexity": float(np.exp(loss.mean())),
        "n_tokens": loss.size,
    }
    if divergences:
        divergence = np.concatenate(divergences).astype(np.float64)
        result |= {
            "kl_divergence": float(divergence.mean()),
            "kl_error": float(divergence.std(ddof=1) / np.sqrt(divergence.size)),
            "same_top": n_same / divergence.size,
        }
    yield {"result": result}


def log_softmax(logits: Floats) -> Floats:
    """Return log-probabilities of logits, row by row."""
    shifted = logits - logits.max(1, keepdims=True)
    total = np.log(np.exp(shifted).sum(1, keepdims=True, dtype=np.float64))
    result: Floats = shifted - total.astype(np.float32)
    return result


TASKS: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
    "generate": generate,
    "measure": measure,
}


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    task = TASKS[request.pop("task")]
    try:
        for event in task(**request):
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
    except LoadError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
