"""What a language model's file has no place for, and why, for people to read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ggufkit.architectures.multimodal import OTHER_PARTS
from ggufkit.architectures.vision import find_vision
from ggufkit.errors import UnknownArchitectureError
from ggufkit.mapping.name_ranges import collapse
from ggufkit.mapping.spec import Config

BUFFERS = "buffers that llama.cpp computes itself"
MMPROJ = "`ggufkit mmproj SOURCE` writes the vision encoder and projector"
OTHER_ENCODERS = "ggufkit can't convert this encoder or projector"
MTP = "they predict further tokens (MTP), which llama.cpp leaves out here"
TIED = "the output weights are the embeddings"
SHARED = "the same embeddings are written once"
NOT_USED = "llama.cpp does not use them"
HEADS = "llama.cpp does not do their tasks"
# What is left of a long list is in its count.
MAX_LINES = 12

# The first that matches counts. Everything else is a head or a pooler.
_REASONS: Sequence[tuple[str, Sequence[str]]] = (
    (BUFFERS, ("*.masked_bias", "*.attention.bias", "*.attn.bias", "*.inv_freq", "*position_ids")),
    (TIED, ("*lm_head*",)),
    (SHARED, ("*embed_tokens.weight", "shared.weight")),
    (HEADS, ("cls.*", "head.*", "decoder.*", "vocab_*", "*pooler*")),
    (MMPROJ, (*OTHER_PARTS, "*vision*", "*audio*")),
    (MTP, ("*mtp*", "*model.layers.*")),
)


def grouped(names: Collection[str], config: Config) -> Iterator[dict[str, Any]]:
    """Yield the tensors that have no place in a file, those with one reason together.

    Parameters
    ----------
    names : collection of str
        The checkpoint's tensors that are left out.
    config : mapping
        Its config.json.

    Yields
    ------
    dict
        With ``tensors`` (names, folded), ``count`` and ``why``.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_reason(name, config), []).append(name)
    for why, found in groups.items():
        yield group(found, why)


def group(names: Collection[str], why: str) -> dict[str, Any]:
    """Return what there is to say of tensors that are left out for one reason."""
    lines = collapse(names)
    shown = lines if len(lines) <= MAX_LINES else _prefixes(names)
    return {"tensors": shown, "count": len(names), "why": why}


def _prefixes(names: Iterable[str]) -> list[str]:
    """Return what names begin with, down to two levels or the first number."""
    found = set()
    for name in names:
        parts = name.split(".")
        numbers = [place for place, part in enumerate(parts) if part.isdecimal()]
        found.add(".".join(parts[: max(1, min([*numbers, 2, len(parts) - 1]))]))
    shortest = [name for name in found if name.rpartition(".")[0] not in found]
    return [f"{name}.*" for name in sorted(shortest)[:MAX_LINES]]


def _reason(name: str, config: Config) -> str:
    matching = (why for why, patterns in _REASONS if any(fnmatchcase(name, p) for p in patterns))
    found = next(matching, HEADS)
    if found != MMPROJ:
        return found
    try:
        find_vision(config)
    except UnknownArchitectureError:
        return OTHER_ENCODERS
    return OTHER_ENCODERS if "audio" in name else MMPROJ
