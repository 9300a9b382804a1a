"""The name of a tokenizer's pre-tokenizer: ``tokenizer.ggml.pre``.

llama.cpp's converter encodes a reference text and looks up the hash of the token ids, so it refuses
a tokenizer with a modified vocabulary. Here the steps of tokenizer.json decide first: unknown steps
are an error, known steps give a name whose rules are right for any vocabulary. Then, if the
converter's table has the hash, the name from that table is used, so that the file is the
converter's. Nothing is guessed: for unknown steps the user has to give a name.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from ggufkit.errors import UnknownTokenizerError
from ggufkit.tokenizers.files import as_list, get
from ggufkit.tokenizers.pre_table import (
    BPE_NAMES,
    HASHES,
    IGNORES_MERGES,
    PRE_NAMES,
    PUBLISHED,
    SAME_RULES,
    STRUCTURES,
    WITH_ROBERTA_PROCESSING,
    WITHOUT_IGNORE_MERGES,
)
from ggufkit.tokenizers.reference import reference_hash

if TYPE_CHECKING:
    from ggufkit.tokenizers.files import TokenizerFiles

__all__ = ["BPE_NAMES", "PRE_NAMES", "check_pre", "describe", "find_pre"]

# Normalizers that make no difference in llama.cpp, or for which it has flags.
HARMLESS_NORMALIZERS = ("NFC", "Lowercase", "StripAccents")
BERT_STEPS = ("bert",)
# Key of an exported tokenizer_config.json for a name that does not follow from the steps.
NOTE = "ggufkit_pre"
BYTE_FALLBACK_STEPS = ("byte fallback",)


def check_pre(pre: str) -> None:
    """Raise `UnknownTokenizerError` unless llama.cpp knows the pre-tokenizer `pre`."""
    if pre not in PRE_NAMES:
        near = difflib.get_close_matches(pre, sorted(PRE_NAMES), 5, 0.4)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UnknownTokenizerError(f"llama.cpp has no pre-tokenizer {pre!r}{hint}")


def find_pre(files: TokenizerFiles) -> str:
    """Return the name of the pre-tokenizer that tokenizer.json describes.

    Raises
    ------
    UnknownTokenizerError
        No pre-tokenizer of llama.cpp is known to have these steps.
    """
    noted = get(files.config, NOTE)
    if isinstance(noted, str) and noted in PRE_NAMES:
        return noted
    tokenizer = files.tokenizer_json_or_legacy or {}
    steps = describe(tokenizer)
    if steps == BYTE_FALLBACK_STEPS:
        raise UnknownTokenizerError(
            f"{files.folder}: tokenizer.json holds a BPE model with byte fallback, which this "
            "architecture can only read from tokenizer.model; add that file to the folder"
        )
    if steps == BERT_STEPS:
        name = "bert-bge"
    elif steps in STRUCTURES and _has_harmless_normalizer(tokenizer):
        name = _variant(STRUCTURES[steps], tokenizer, files.architecture)
    else:
        raise _unknown(files, steps)
    return HASHES.get(reference_hash(files, steps), name)


def _variant(name: str, tokenizer: dict[str, Any], architecture: str) -> str:
    """Return the name with the same rules that matches the tokenizer's other properties."""
    if get(tokenizer, "post_processor", "type") == "RobertaProcessing":
        name = WITH_ROBERTA_PROCESSING.get(name, name)
    ignores_merges = bool(get(tokenizer, "model", "ignore_merges"))
    same = (name, *SAME_RULES.get(name, "").split())
    for published in PUBLISHED.get(architecture, "").split():
        if published in same and (published in IGNORES_MERGES or not ignores_merges):
            return published
    return name if ignores_merges else WITHOUT_IGNORE_MERGES.get(name, name)


def describe(tokenizer: dict[str, Any]) -> tuple[str, ...]:
    """Return tokenizer.json's pre-tokenizer as steps, to be compared with `STRUCTURES`.

    A step is a regular expression, whose matches and the text between them become the pieces; or
    ``words`` or ``bytes`` (ByteLevel with and without GPT-2's expression), ``digit`` or
    ``digits`` (single, or in runs), ``punctuation``, ``bert``; or, if unknown, JSON-like text.
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
    """Return the expression of a Split step that drops no text, with escaped line ends."""
    regex = get(step, "pattern", "Regex")
    # Removing what does not match drops nothing either, since these expressions match all text.
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
        f"{files.folder}: no pre-tokenizer of llama.cpp is known to split text as tokenizer.json "
        f"does:\n  {found}{extra}\nIf you know its name in llama.cpp, give it with --pre NAME; "
        f"the most similar are {', '.join(names)}"
    )


def _similarity(known: tuple[str, ...], steps: tuple[str, ...]) -> float:
    text = "\n".join(steps)[:4000]
    return difflib.SequenceMatcher(None, "\n".join(known), text, autojunk=False).ratio()
