"""Which architecture covers a model: found in a generated index, loaded when it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ggufkit.architectures.multimodal import text_classes, text_part
from ggufkit.architectures.suggest import best_fit, similar_name
from ggufkit.architectures.third_party import installed
from ggufkit.errors import GGUFKitError, UnknownArchitectureError
from ggufkit.mapping.spec import Architecture, text_config

# module -> its general.architecture, and its classes with whether they are covered on a condition
# only. Made from the modules by scripts/make_architecture_index.py.
INDEX = Path(__file__).with_name("index.json")

_CLASSIFIERS = ("Classification", "QuestionAnswering", "MultipleChoice")


@cache
def index() -> Mapping[str, Mapping[str, Any]]:
    """Return the index of the package's own architectures, by module."""
    made: Mapping[str, Mapping[str, Any]] = json.loads(INDEX.read_text(encoding="utf-8"))
    return made


@cache
def load(module: str) -> tuple[Architecture, ...]:
    """Return the architectures of one of the package's modules, in its order."""
    name = index()[module]["name"]
    found = vars(import_module(f"{__package__}.{module}")).values()
    return tuple(a for a in found if isinstance(a, Architecture) and a.name == name)


def architectures() -> tuple[Architecture, ...]:
    """Return all architectures, the package's own before those of other packages.

    This imports all of their modules.
    """
    return (*(a for module in index() for a in load(module)), *installed())


def architectures_named(name: str) -> tuple[Architecture, ...]:
    """Return the architectures with this ``general.architecture``."""
    own = (a for module, entry in index().items() if entry["name"] == name for a in load(module))
    return (*own, *(a for a in installed() if a.name == name))


def architecture_names() -> list[str]:
    """Return every ``general.architecture``, sorted."""
    own = {str(entry["name"]) for entry in index().values()}
    return sorted(own | {a.name for a in installed()})


def class_names() -> list[str]:
    """Return every class that an architecture covers without a condition."""
    own = (
        name for entry in index().values() for name, maybe in entry["classes"].items() if not maybe
    )
    return [*own, *(name for a in installed() if a.matches is None for name in a.hf_classes)]


def _covering(name: str) -> tuple[Architecture, ...]:
    """Return the architectures that list a class; those of other packages where none here does."""
    modules = [module for module, entry in index().items() if name in entry["classes"]]
    known = (a for m in modules for a in load(m)) if modules else iter(installed())
    return tuple(a for a in known if name in a.hf_classes)


def _without_condition(known: Iterable[Architecture]) -> Architecture | None:
    return next((a for a in known if a.matches is None), None)


def _fitting(known: Sequence[Architecture], config: Mapping[str, Any]) -> Architecture | None:
    on_condition = (a for a in known if a.matches and a.matches(config))
    return next(on_condition, None) or _without_condition(known)


def find_architecture(
    config: Mapping[str, Any], names: Iterable[str] = (), *, given: Sequence[Architecture] = ()
) -> Architecture:
    """Return the architecture of a checkpoint.

    Parameters
    ----------
    config : mapping
        Its config.json.
    names : iterable of str
        Its tensors, which tell an error the closest architecture better than a class's name.
    given : sequence of Architecture
        Those to take instead of all others, from a file of the user's.

    Raises
    ------
    UnknownArchitectureError
        No architecture file covers its class, or it names none.
    """
    listed = config.get("architectures")
    classes = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    for name in classes:
        known = [a for a in given if name in a.hf_classes] if given else _covering(name)
        if found := _fitting(known, config):
            return found
    if given:
        raise UnknownArchitectureError(
            f"config.json names the model class {', '.join(classes)[:200] or '(none)'}; the given "
            f"file covers {', '.join(name for a in given for name in a.hf_classes)}"
        )
    merged = {**config, **(text_config(config) or {})}
    for name in text_classes(config):
        if found := _fitting(_covering(name), merged):
            return text_part(found, config)
    raise _unknown(config, classes, list(names))


def _unknown(
    config: Mapping[str, Any], classes: list[str], names: Sequence[str]
) -> UnknownArchitectureError:
    from ggufkit.architectures.from_gguf_py import generic_name  # reads gguf-py's tables

    called = [*classes, str(config.get("model_type") or "")]
    fit = best_fit(architectures(), names, config, called) if names else None
    closest = fit.hf_class if fit else similar_name(called, class_names())
    if fit and fit.is_complete:
        hint = (
            f"its tensors are called like those of {closest}: if it computes the same, write that "
            'name into "architectures" of config.json'
        )
    elif closest:
        hint = f"the closest class that it knows is {closest}"
    else:
        hint = "none that it knows is like it"
    generic = generic_name(config)
    return UnknownArchitectureError(
        f"config.json names the model class {', '.join(classes)[:200] or '(none)'}, which ggufkit "
        f"has no architecture file for; {hint}. {_classifier(classes)}"
        f"{_generic_hint(config, names, generic)}. `ggufkit architectures` lists all; "
        "docs/adding-an-architecture.md says how to add one",
        closest=closest,
        generic=generic,
    )


def _classifier(classes: Iterable[str]) -> str:
    if not any(name.endswith(_CLASSIFIERS) for name in classes):
        return ""
    known = ", ".join(name for name in class_names() if name.endswith(_CLASSIFIERS))
    return f"It is a classifier, and of these llama.cpp has a place for the heads of {known}. "


def _generic_hint(config: Mapping[str, Any], names: Sequence[str], generic: str | None) -> str:
    """Return whether gguf-py's tables do for a model; --generic is only advised if it works."""
    from ggufkit.architectures.from_gguf_py import generic_architecture

    if generic is None:
        return "gguf-py has no table for it either"
    try:
        generic_architecture(config, names, known=architectures())
    except GGUFKitError:
        return f"gguf-py's table of {generic} does not have all of its tensors either"
    return (
        f"gguf-py knows the names of its tensors: --generic converts it, unverified, as {generic}"
    )
