"""llama.cpp's own programs on the PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ggufkit.errors import LlamaCppError

# The results that llama-perplexity prints last; the number before the error, if there is one.
_FACTS = {
    "perplexity": r"Final estimate: PPL(?:\(Q\))? = ([\d.]+)",
    "perplexity_with_base": r"Mean PPL\(Q\)\s*:\s*([\d.]+)",
    "kl_divergence": r"Mean\s+KLD:\s*(-?[\d.]+)",
    "kl_error": r"Mean\s+KLD:\s*-?[\d.]+\s*±\s*([\d.]+)",
    "same_top": r"Same top p:\s*([\d.]+)",
}


def find(name: str) -> str | None:
    """Return the path of a program, or None."""
    return shutil.which(name)


def complete(path: Path, prompt: str, n_predict: int, n_ctx: int) -> str:
    """Continue a prompt with ``llama-completion`` (formerly ``llama-cli``).

    Raises
    ------
    LlamaCppError
        The program fails.
    """
    program = find("llama-completion") or find("llama-cli") or "llama-completion"
    options = {"-m": path, "-p": prompt, "-n": n_predict, "-c": n_ctx, "--temp": 0}
    flags = ["-no-cnv", "--no-display-prompt", "--no-warmup"]
    return _run([program, *(str(word) for pair in options.items() for word in pair), *flags], path)


def measure(
    base: Path, others: Iterable[Path], text: str, n_ctx: int, n_chunks: int, saved: str
) -> list[dict[str, Any]]:
    """Measure the base and the others with ``llama-perplexity``.

    Raises
    ------
    LlamaCppError
        The program is missing, or fails.
    """
    program = find("llama-perplexity")
    if program is None:
        raise LlamaCppError(
            "measuring needs llama-perplexity on the PATH, or: pip install 'ggufkit[run]'"
        )
    prose = Path(saved).with_name("text")
    prose.write_text(text, encoding="utf-8")
    common = [program, "-c", str(n_ctx), "--chunks", str(n_chunks or -1)]
    common += ["--kl-divergence-base", saved]
    printed = _run([*common, "-m", str(base), "-f", str(prose)], base)
    compared = (_run([*common, "-m", str(path), "--kl-divergence"], path) for path in others)
    return [_facts(text, n_ctx) for text in (printed, *compared)]


def _run(command: Sequence[str], path: Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise LlamaCppError(f"{path}: {Path(command[0]).name} failed: {last[0]}")
    return done.stdout + done.stderr if "perplexity" in command[0] else done.stdout


def _facts(printed: str, n_ctx: int) -> dict[str, Any]:
    matches = {name: re.search(pattern, printed) for name, pattern in _FACTS.items()}
    found = {name: float(match[1]) for name, match in matches.items() if match}
    perplexity = found.pop("perplexity_with_base", found.get("perplexity"))
    if perplexity is None:
        raise LlamaCppError("llama-perplexity printed no perplexity")
    if "same_top" in found:
        found["same_top"] /= 100
    chunks = len(re.findall(r"\[\d+\][\d.]+,|^ +\d+ ", printed, re.MULTILINE))
    return {**found, "perplexity": perplexity, "n_tokens": chunks * (n_ctx - n_ctx // 2 - 1)}
