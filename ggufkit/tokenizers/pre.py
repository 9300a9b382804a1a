"""The name of a tokenizer's pre-tokenizer: ``tokenizer.ggml.pre``.

llama.cpp's converter encodes a reference text and looks the hash of the ids up; it refuses a
tokenizer whose vocabulary was touched. Here tokenizer.json's steps decide first: unknown steps
are an error, known steps give a name whose cuts are right for any vocabulary. Then, if the
converter's table has the hash, its name is taken, so that the file is the one that the converter
writes. Text is never guessed at: without a name the user must give one.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.tokenizers.folder_files import as_list, get
from ggufkit.tokenizers.pre_table import (
    BPE_NAMES,
    HASHES,
    PRE_NAMES,
    STRUCTURES,
    WITH_ROBERTA_PROCESSING,
    WITHOUT_IGNORE_MERGES,
)
from ggufkit.tokenizers.reference import reference_hash

if TYPE_CHECKING:
    from ggufkit.tokenizers.files import TokenizerFiles

__all__ = ["BPE_NAMES", "PRE_NAMES", "check_pre", "describe", "find_pre"]

# Normalizers that llama.cpp does without, or has flags for.
HARMLESS_NORMALIZERS = ("NFC", "Lowercase", "StripAccents")
BERT_STEPS = ("bert",)
# Where an exported checkpoint's tokenizer_config.json keeps a name that its steps do not tell.
NOTE = "ggufkit_pre"
BYTE_FALLBACK_STEPS = ("byte fallback",)


def check_pre(pre: str) -> None:
    """Raise `UnknownTokenizerError` unless llama.cpp knows the pre-tokenizer `pre`."""
    if pre not in PRE_NAMES:
        near = difflib.get_close_matches(pre, sorted(PRE_NAMES), 5, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownTokenizerError(f"llama.cpp knows no pre-tokenizer {pre!r}{hint}")


def find_pre(files: TokenizerFiles) -> str:
    """Return the name of the pre-tokenizer that tokenizer.json describes.

    Raises
    ------
    UnknownTokenizerError
        llama.cpp has no such pre-tokenizer, as far as is known.
    """
    noted = get(files.config, NOTE)
    if isinstance(noted, str) and noted in PRE_NAMES:
        return noted
    tokenizer = files.tokenizer_json_or_legacy or {}
    steps = describe(tokenizer)
    if steps == BYTE_FALLBACK_STEPS:
        raise UnknownTokenizerError(
            f"{files.folder}: tokenizer.json holds a BPE model with byte fallback, which this "
            "architecture can only take from tokenizer.model; put that file beside it"
        )
    if steps == BERT_STEPS:
        name = "bert-bge"
    elif steps in STRUCTURES and _has_harmless_normalizer(tokenizer):
        name = _variant(STRUCTURES[steps], tokenizer)
    else:
        raise _unknown(files, steps)
    return HASHES.get(reference_hash(files, steps), name)


def _variant(name: str, tokenizer: dict[str, Any]) -> str:
    """Return the name of the same cuts that fits what else the tokenizer does."""
    if get(tokenizer, "post_processor", "type") == "RobertaProcessing":
        name = WITH_ROBERTA_PROCESSING.get(name, name)
    if not get(tokenizer, "model", "ignore_merges"):
        name = WITHOUT_IGNORE_MERGES.get(name, name)
    return name


def describe(tokenizer: dict[str, Any]) -> tuple[str, ...]:
    """Return tokenizer.json's pre-tokenizer as steps, comparable with `STRUCTURES`.

    A step is a regular expression whose matches, and what is between them, are the pieces; or
    ``words`` or ``bytes`` (ByteLevel with and without GPT-2's expression), ``digit`` or
    ``digits`` (single, or in runs), ``punctuation``, ``bert``; or else JSON-like text that
    equals no known step.
    """
    if get(tokenizer, "model", "byte_fallback"):
        return BYTE_FALLBACK_STEPS
    return tuple(_steps(tokenizer.get("pre_tokenizer")))


def _steps(step: Any) -> list[str]:
    if not isinstance(step, dict):
        return ["none"]
    kind = step.get("type")
    if kind == "Sequence":
        return [name for part in as_list(step.get("pretokenizers")) for name in _steps(part)]
    if kind == "Split" and (regex := _isolating_regex(step)) is not None:
        return [regex]
    if kind == "ByteLevel" and not step.get("add_prefix_space"):
        return ["words" if step.get("use_regex", True) else "bytes"]
    if kind == "Digits":
        return ["digit" if step.get("individual_digits") else "digits"]
    if kind == "Punctuation" and step.get("behavior") == "Contiguous":
        return ["punctuation"]
    if kind == "BertPreTokenizer":
        return ["bert"]
    return [str(step)]


def _isolating_regex(step: dict[str, Any]) -> str | None:
    """Return the expression of a Split step that keeps everything, in one spelling."""
    regex = get(step, "pattern", "Regex")
    # Removing what does not match keeps everything too, as these expressions match all text.
    behavior = (step.get("behavior"), bool(step.get("invert")))
    if not isinstance(regex, str) or behavior not in (("Isolated", False), ("Removed", True)):
        return None
    return regex.replace("\r", r"\r").replace("\n", r"\n")


def _has_harmless_normalizer(tokenizer: dict[str, Any]) -> bool:
    steps: list[Any] = [tokenizer.get("normalizer")]
    while steps:
        step = steps.pop()
        if get(step, "type") == "Sequence":
            steps += as_list(get(step, "normalizers"))
        elif step is not None and get(step, "type") not in HARMLESS_NORMALIZERS:
            return False
    return True


def _unknown(files: TokenizerFiles, steps: tuple[str, ...]) -> UnknownTokenizerError:
    found = "\n  ".join(step[:400] for step in steps)
    near = sorted(STRUCTURES, key=lambda known: _similarity(known, steps), reverse=True)
    names = list(dict.fromkeys(STRUCTURES[known] for known in near))[:3]
    normalizer = (files.tokenizer_json_or_legacy or {}).get("normalizer")
    extra = "" if normalizer is None else f"\nafter the normalizer {str(normalizer)[:200]}"
    return UnknownTokenizerError(
        f"{files.folder}: tokenizer.json cuts text in a way that no pre-tokenizer of llama.cpp "
        f"is known to:\n  {found}{extra}\nIf you know its name in llama.cpp, give it with "
        f"--pre NAME; the nearest are {', '.join(names)}"
    )


def _similarity(known: tuple[str, ...], steps: tuple[str, ...]) -> float:
    text = "\n".join(steps)[:4000]
    return difflib.SequenceMatcher(None, "\n".join(known), text, autojunk=False).ratio()
