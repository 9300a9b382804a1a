"""Recipes as files: our own, in JSON, and llama-quantize's ``--tensor-type-file``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ggufkit.converter.planning.recipes import ALIASES, RECIPES
from ggufkit.converter.planning.rules import Recipe
from ggufkit.errors import BadValueError
from ggufkit.io.text import write_text_atomic
from ggufkit.types import TensorType

FORMAT = "ggufkit recipe 1"
_MOST_BYTES = 64 << 20


def with_types(like: Recipe, name: str, types: Mapping[str, TensorType]) -> Recipe:
    """Return a recipe that names the types of single tensors, and is `like` another elsewhere."""
    return replace(like, name=name, types=dict(types), like=like.file_type.name)


def write_recipe(recipe: Recipe, path: Path, why: Mapping[str, str]) -> None:
    """Write a recipe that names tensors, and why it has chosen each type."""
    values = {
        "format": FORMAT,
        "name": recipe.name,
        "like": recipe.file_type.name,
        "types": {name: type_.name for name, type_ in recipe.types.items()},
        "why": dict(why),
    }
    write_text_atomic(path, json.dumps(values, indent=1) + "\n")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe that `write_recipe` has written.

    Raises
    ------
    BadValueError
        It is something else.
    """
    path = Path(path)
    try:
        values = json.loads(_read(path))
        if values["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        name, like = str(values["name"]), str(values["like"])
        if not re.fullmatch(r"\w{1,64}", name, re.ASCII) or name in RECIPES:
            raise ValueError("its name must be letters, digits and _, and no file type's")
        base = RECIPES[ALIASES.get(like, like)]
        types = {str(tensor): TensorType[type_] for tensor, type_ in values["types"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadValueError(
            f"{path}: no recipe ('ggufkit convert SOURCE --bpw BITS' writes one): {error}"
        ) from None
    return with_types(base, name, types)


def write_tensor_types(recipe: Recipe, path: Path) -> None:
    """Write what ``llama-quantize --tensor-type-file`` reads: a pattern and a type per tensor."""
    lines = [f"^{re.escape(name)}$={t.name.lower()}\n" for name, t in recipe.types.items()]
    write_text_atomic(path, "".join(lines))


def read_tensor_types(path: str | Path) -> list[str]:
    """Read the words ``PATTERN=TYPE`` of a file for ``--tensor-type-file``.

    Raises
    ------
    BadValueError
        It can't be read.
    """
    try:
        return _read(Path(path)).split()
    except (OSError, ValueError) as error:
        raise BadValueError(f"{path}: no list of tensor types: {error}") from None


def _read(path: Path) -> str:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError("it is too large")
    return path.read_text(encoding="utf-8")
