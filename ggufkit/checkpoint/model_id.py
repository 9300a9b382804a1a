"""What a model's name says about it: ``NousResearch/Meta-Llama-3-8B-Instruct`` and the like.

A name is split at its dashes. Each word is annotated as a version, a size or a fine-tune if it
looks like one; leading words that are plain or versions form the base name. These are guesses,
by the rules of ``get_model_id_components`` in gguf-py's metadata.py, since they end up in the
metadata of llama.cpp's files.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

_VERSION = re.compile(r"(v|iter)?\d+([.]\d+)*", re.IGNORECASE)
_TYPE = re.compile(r"i?q\d(_\w)*|b?fp?(16|32)", re.IGNORECASE)
_SIZE = re.compile(
    r"([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl", re.IGNORECASE
)
_FINETUNE = re.compile(r"chat|instruct|vision|lora", re.IGNORECASE)
_KEPT_AS_WRITTEN = re.compile(r"(v\d+(?:\.\d+)*|\d.*)$")


@dataclass(frozen=True)
class ModelId:
    """The recognised parts of a model id.

    Examples
    --------
    >>> found = parse_model_id("NousResearch/Meta-Llama-3-8B-Instruct")
    >>> found.organization, found.basename, found.size_label, found.finetune
    ('NousResearch', 'Meta-Llama-3', '8B', 'Instruct')
    """

    name: str
    organization: str | None = None
    basename: str | None = None
    finetune: str | None = None
    version: str | None = None
    size_label: str | None = None


@dataclass
class _Word:
    text: str
    kinds: set[str] = field(default_factory=set)


def title(text: str) -> str:
    """Turn a dashed name into a title; acronyms, versions and sizes are not changed.

    Examples
    --------
    >>> title("hermes-2-pro-llama-3-8b-DPO")
    'Hermes 2 Pro Llama 3 8b DPO'
    """
    words = text.replace("-", " ").split()
    return " ".join(
        word.title() if word.islower() and not _KEPT_AS_WRITTEN.match(word) else word
        for word in words
    )


def parse_model_id(model_id: str, n_weights: int = 0) -> ModelId:
    """Recognise the parts of a Hugging Face model id, with or without an organization.

    Parameters
    ----------
    model_id : str
        A repository id or a folder's name.
    n_weights : int
        Weights of the model; 0 if unknown. A word whose size is far from it is taken for
        something else, such as a context length. Negative for an adapter, whose name has the
        larger size of its base model.
    """
    if " " in model_id:
        return ModelId(model_id)
    organization, slash, name = model_id.partition("/")
    if not slash:
        name = model_id
    texts = filter(None, name.split("-"))
    words = [_annotate(index, text, n_weights) for index, text in enumerate(texts)]
    _drop_sizes_in_words(words)
    _find_basename(words)

    def joined(wanted: Callable[[set[str]], bool]) -> str | None:
        return "-".join(word.text for word in words if wanted(word.kinds)) or None

    size_label = "-".join(dict.fromkeys(w.text for w in words if "size" in w.kinds)) or None
    finetune = joined(lambda kinds: "finetune" in kinds)
    version = joined(lambda kinds: "version" in kinds and "basename" not in kinds)
    ambiguous = size_label is None and finetune is None and version is None
    return ModelId(
        name,
        organization if slash and not organization.startswith(".") else None,
        None if ambiguous else joined(lambda kinds: "basename" in kinds),
        finetune,
        version,
        size_label,
    )


def _annotate(index: int, text: str, n_weights: int) -> _Word:
    if _VERSION.fullmatch(text):
        return _Word(text, {"version"})
    if _TYPE.fullmatch(text):
        return _Word(text.upper(), {"type"})
    if index > 0 and _SIZE.fullmatch(text):
        return _annotate_size(text, n_weights)
    if index > 0 and _FINETUNE.fullmatch(text):
        redundant = n_weights < 0 and text.lower() == "lora"
        return _Word(text, {"type" if redundant else "finetune"})
    return _Word(text)


def _annotate_size(text: str, n_weights: int) -> _Word:
    text = text.replace("_", ".")
    if text[-1].isdecimal():
        # bloom-7b1 means 7.1B
        text = text[:-2] + "." + text[-1] + text[-2]
    if len(text) > 1 and text[-2].isdecimal() and text[-1] in "kmbt":
        text = text[:-1] + text[-1].upper()
    if n_weights and _is_far_from(text, n_weights):
        # Probably a context length, or the number of training tokens.
        return _Word(text[:-1] + text[-1].lower(), {"finetune"})
    return _Word(text, {"size"})


def _is_far_from(size: str, n_weights: int) -> bool:
    try:
        stated = float(size[:-1]) * 1000.0 ** " KMBT".find(size[-1])
    except ValueError:
        return False  # "mini", "8x7B"
    if n_weights < 0:
        return stated < -n_weights // 8
    return abs(stated - n_weights) > 7 * n_weights // 8


def _drop_sizes_in_words(words: list[_Word]) -> None:
    """Take "mini" for a size only if no other word is a size with digits."""
    sizes = [word for word in words if "size" in word.kinds]
    if any(char.isdecimal() for word in sizes for char in word.text):
        for word in sizes:
            if word.text.isalpha():
                word.kinds.remove("size")


def _find_basename(words: list[_Word]) -> None:
    at_start = True
    for word in words:
        plain = not word.kinds
        at_start = at_start and ((plain and word.text[0].isalpha()) or "version" in word.kinds)
        if at_start:
            word.kinds.add("basename")
        elif plain:
            word.kinds.add("finetune")
    # A version at the end belongs to the model, not to its base.
    for word in reversed(words):
        if "basename" not in word.kinds or len(word.kinds) == 1:
            break
        word.kinds.remove("basename")
