"""Run models in a real llama.cpp: their answers, their speed, and how far they are from a base.

llama.cpp runs in a separate process per model, since it aborts on unexpected input, and so that its
memory is freed. It is the one in the package ``xllamacpp`` (the extra ``run``), or else
``llama-completion`` and ``llama-perplexity`` on the PATH.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ggufkit.errors import LlamaCppError
from ggufkit.publish.llama_cpp import programs

N_CTX = 512
Heard = Callable[[str], None]


@dataclass(frozen=True)
class Generation:
    """An answer of a model.

    Attributes
    ----------
    text : str
        The continuation of the prompt, always by the most likely token.
    load_seconds : float or None
        Time to load the model.
    prompt_per_second, tokens_per_second : float or None
        Tokens of the prompt read, and tokens generated.
    """

    text: str
    load_seconds: float | None = None
    prompt_per_second: float | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Quality:
    """How a model predicts a text, measured as llama-perplexity does.

    Attributes
    ----------
    perplexity : float
        The perplexity of the text.
    n_tokens : int
        Number of predicted tokens.
    kl_divergence, kl_error : float or None
        Mean divergence of the predictions from the base's, in nats, and its standard error.
    same_top : float or None
        Share of positions with the same most likely token as the base.
    """

    perplexity: float
    n_tokens: int
    kl_divergence: float | None = None
    kl_error: float | None = None
    same_top: float | None = None


def engine() -> str:
    """Return what runs models here: ``xllamacpp``, or ``programs`` on the PATH.

    Raises
    ------
    LlamaCppError
        There is none.
    """
    from ggufkit.publish.llama_cpp.api import library_path

    if library_path() is not None:
        return "xllamacpp"
    if programs.find("llama-completion") or programs.find("llama-cli"):
        return "programs"
    raise LlamaCppError(
        "no llama.cpp: pip install 'ggufkit[run]', or put llama-completion and llama-perplexity "
        "on the PATH"
    )


def generate(
    path: str | Path,
    prompt: str,
    *,
    n_predict: int = 32,
    n_ctx: int = N_CTX,
    heard: Heard = lambda _: None,
) -> Generation:
    """Load a model and let it go on with a prompt.

    Parameters
    ----------
    path : path-like
        The GGUF file, or the first of a split.
    prompt : str
        The text; special tokens in it count as such.
    n_predict : int
        Most tokens to make.
    n_ctx : int
        Tokens that the model can see.
    heard : callable
        Is called with each piece of text as it is made.

    Raises
    ------
    LlamaCppError
        llama.cpp is not there, can't load the file, or ends.
    """
    if engine() == "programs":
        text = programs.complete(Path(path), prompt, n_predict, n_ctx)
        heard(text)
        return Generation(text)
    pieces: list[str] = []
    result: dict[str, Any] = {}
    request = {"prompt": prompt, "n_predict": n_predict, "n_ctx": n_ctx}
    for event in _ask("generate", Path(path), **request):
        if "piece" in event:
            pieces.append(event["piece"])
            heard(event["piece"])
        result = event.get("result", result)
    return Generation("".join(pieces), **result)


def measure(
    base: str | Path,
    others: Iterable[str | Path],
    text: str,
    *,
    n_ctx: int = N_CTX,
    n_chunks: int = 8,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Quality]:
    """Measure how models predict a text, and how far they are from a base.

    Parameters
    ----------
    base : path-like
        What they are compared with: the source, or the largest rung.
    others : iterable of path-like
        The models; each is asked for when the one before it is done.
    text : str
        Prose of the kind that the models are for.
    n_ctx : int
        Tokens of a chunk, of which the second half is predicted.
    n_chunks : int
        Most chunks; 0 takes all of the text. The base's predictions go to a temporary file of
        ``4 * n_chunks * n_ctx / 2 * vocabulary`` bytes.
    progress : callable
        Is called with 1 for each chunk of each model.

    Returns
    -------
    list of Quality
        Of the base and of the others, in this order.

    Raises
    ------
    LlamaCppError
        llama.cpp is not there, can't load a file, or the text is shorter than a chunk.
    """
    with tempfile.TemporaryDirectory(prefix="ggufkit-") as folder:
        saved = str(Path(folder) / "base")
        if engine() == "programs":
            found = programs.measure(Path(base), map(Path, others), text, n_ctx, n_chunks, saved)
            return [Quality(**values) for values in found]
        request = {"text": text, "n_ctx": n_ctx, "n_chunks": n_chunks}
        results: list[Quality] = []
        for path in chain([base], others):
            files = {"base": None, "save": saved} if not results else {"base": saved, "save": None}
            for event in _ask("measure", Path(path), **request, **files):
                if "step" in event:
                    progress(1)
                if "result" in event:
                    results.append(Quality(**event["result"]))
        return results


def _ask(task: str, path: Path, **request: Any) -> Iterator[dict[str, Any]]:
    """Yield the events of a request to a process of its own."""
    command = [sys.executable, "-m", "ggufkit.publish.llama_cpp.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise LlamaCppError("the process that runs models has no pipes")
        json.dump({"task": task, "path": str(path), **request}, process.stdin)
        process.stdin.close()
        done = False
        for line in process.stdout:
            event = json.loads(line)
            if "error" in event:
                raise LlamaCppError(f"{path}: llama.cpp: {event['error']}")
            done = done or "result" in event
            yield event
        code = process.wait()
    if not done:
        raise LlamaCppError(
            f"{path}: llama.cpp ended with {_ending(code)}; 'ggufkit check FILE' may say why"
        )


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
