"""What has to be known to make a checkpoint of a file, and what of it the file tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ggufkit.mapping.config_inverse import ModelHeader
from ggufkit.mapping.spec import Renames

# The value of a key that is null, where transformers assumes something else.
NULL = object()


@dataclass(frozen=True)
class ExportSpec:
    """What has to be known to make a checkpoint of an architecture's file.

    Attributes
    ----------
    model_type : str
        transformers' name of the config.
    hf_class : str
        The class, where it is not the architecture's first.
    heads : tuple of (tensor, class, prefix)
        The class of a model that has this tensor, and what the other tensors' names start with.
    config : mapping
        Config keys that hparams do not tell, whose dots are levels; a callable is given what is
        `ModelHeader`. None is no key, `NULL` is null.
    nested : str
        The ``model_type`` of the wrapper, where the language model's config lies in another.
    beside : mapping
        Sources to choose only where the file has tensors of a second name, where the architecture
        has several sources for one tensor.
    rename : tuple of (pattern, replacement) or callable
        From the names that the architecture knows to those of the checkpoint; or a function of
        what is known.
    fits : callable, optional
        Whether a file can be of this architecture, of several with one name.
    """

    model_type: str
    hf_class: str = ""
    heads: tuple[tuple[str, str, str], ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    nested: str = ""
    beside: Mapping[str, str] = field(default_factory=dict)
    rename: Renames | Callable[[ModelHeader], Renames] = ()
    fits: Callable[[ModelHeader], bool] | None = None


def has_biases(known: ModelHeader) -> bool:
    """Whether queries have biases."""
    return known.has(".attn_q.bias")


def has_mlp_biases(known: ModelHeader) -> bool:
    """Whether feed-forward parts have biases."""
    return known.has(".ffn_up.bias")


def hparam(name: str) -> Callable[[ModelHeader], Any]:
    """Return the function that reads an hparam, None where the file lacks it."""
    return lambda known: known.hparams.get(name)


def has_hparam(name: str) -> Callable[[ModelHeader], bool]:
    """Return the function that tells whether the file has an hparam."""
    return lambda known: name in known.hparams


def has_true(name: str) -> Callable[[ModelHeader], bool]:
    """Return the function that tells whether an hparam is true."""
    return lambda known: known.hparams.get(name) is True


def lacks_hparam(name: str) -> Callable[[ModelHeader], bool]:
    """Return the opposite of `has_hparam`."""
    return lambda known: name not in known.hparams


def either(ending: str, value: Any, otherwise: Any = None) -> Callable[[ModelHeader], Any]:
    """Return one of two values, by whether some tensor's name ends so."""
    return lambda known: value if known.has(ending) else otherwise


def rows(name: str) -> Callable[[ModelHeader], int | None]:
    """Return the function that counts the rows of a tensor, None where the file lacks it."""
    return lambda known: known.shapes[name][0] if name in known.shapes else None


def has(ending: str) -> Callable[[ModelHeader], bool]:
    """Return the function that tells whether some tensor's name ends so."""
    return lambda known: known.has(ending)


def lacks(ending: str) -> Callable[[ModelHeader], bool]:
    """Return the opposite of `has`."""
    return lambda known: not known.has(ending)


def tokenizer(*models: str) -> Callable[[ModelHeader], bool]:
    """Return whether the vocabulary is of this kind, or there is none."""
    return lambda known: known.tokenizer in ("", *models)


def both(*conditions: Callable[[ModelHeader], bool]) -> Callable[[ModelHeader], bool]:
    """Return whether all of the conditions hold."""
    return lambda known: all(condition(known) for condition in conditions)
