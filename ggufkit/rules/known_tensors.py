"""The tensors of llama.cpp's architectures, and the formulas of their shapes.

``llama_tensors.json`` has them for architectures that `ggufkit.architectures` covers. It was
measured with llama.cpp's loader, on tiny files: what it refuses to load without, and the shapes
that it expects of every tensor as each hparam is changed (``check_tensor_dims`` of
``llama_model_loader``). tests/real/test_rules.py compares it with the loader again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

_BLOCK = re.compile(r"(?<![a-z])blk\.(\d{1,6})\.", re.ASCII)


@dataclass(frozen=True)
class KnownTensor:
    """A tensor of an architecture, as in ``llama_tensors.json``.

    Attributes
    ----------
    where : str
        The blocks that need it, keys of `loaded_hparams.WHERE` joined by ``&``; ``-`` where none
        does, before a key where only these can have it.
    dims : tuple of str
        Its shape, in numpy order: sums of products of hparams, or others behind ``|`` where
        they are 0 or absent; ``?`` where that is not known.
    """

    where: str
    dims: tuple[str, ...]


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    path = Path(__file__).with_name("llama_tensors.json")
    found: Mapping[str, Mapping[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def known_tensors(architecture: str) -> Mapping[str, KnownTensor]:
    """Return an architecture's tensors by name, ``{i}`` for the block; empty if it is unknown."""
    found = {}
    for name, line in _table().get(architecture, {}).items():
        where, _, dims = line.partition(": ")
        found[name] = KnownTensor(where, tuple(dims.split(", ")))
    return found


def general_name(name: str) -> tuple[str, int | None]:
    """Return a tensor's name with ``{i}`` for its block, and the block."""
    match = _BLOCK.search(name)
    if match is None:
        return name, None
    return f"{name[: match.start()]}blk.{{i}}.{name[match.end() :]}", int(match[1])


def evaluate(formula: str, value: Callable[[str], int | None]) -> int | None:
    """Return what a formula of the table is, None if it depends on what is not known.

    Parameters
    ----------
    formula : str
        A sum (``+``) of products (``*``) of integers and hparams, each divided (``//``) by one
        or not; or several, the first that is neither 0 nor unknown (``|``).
    value : callable
        From the name of an hparam to its value.

    Examples
    --------
    >>> evaluate("a*b//2+3*c", {"a": 3, "b": 5, "c": 1}.get)
    10
    >>> evaluate("c|b", {"b": 5, "c": 0}.get)
    5
    """
    found = [_sum(option, value) for option in formula.split("|")]
    return next(filter(None, found), found[-1])


def _sum(formula: str, value: Callable[[str], int | None]) -> int | None:
    total = 0
    for term in formula.split("+"):
        product, _, divisor = term.partition("//")
        factors = [_number(part, value) for part in product.split("*")]
        by = _number(divisor, value) if divisor else 1
        known = [factor for factor in factors if factor is not None]
        if len(known) < len(factors) or not by:
            return None
        total += prod(known) // by
    return total


def _number(word: str, value: Callable[[str], int | None]) -> int | None:
    return int(word) if word.lstrip("-").isdigit() else None if word == "?" else value(word)
