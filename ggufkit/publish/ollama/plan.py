"""Choose the files of a ladder for Ollama, and their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ggufkit.converter.planning.recipes import DEFAULT_LADDER
from ggufkit.errors import MissingFileError, OutputError
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import parse_part_name
from ggufkit.publish.find import find_model, ladder_files
from ggufkit.publish.ollama.model import OllamaModel, Wishes, kind_of, ollama_model
from ggufkit.publish.ollama.names import TAG, ModelName

_TYPE = re.compile(r"[-_.](?:\d{5}-of-\d{5}|(?:I|T)?Q\d\w*|B?F(?:16|32)|(?:MX|NV)FP4\w*)$", re.I)
_OTHERS = re.compile(r"[^a-z0-9_.]+")
_LONGEST = 80


@dataclass(frozen=True)
class NamedFile:
    """A file and its names in Ollama.

    Attributes
    ----------
    model : OllamaModel
        The file.
    names : tuple of ModelName
        The first one is by file type; a ladder's default rung is also ``latest``.
    """

    model: OllamaModel
    names: tuple[ModelName, ...]


def plan_ollama(
    source: str, *, name: str | None = None, tag: str | None = None, wishes: Wishes | None = None
) -> list[NamedFile]:
    """Find files and choose their names.

    Parameters
    ----------
    source : str
        A ladder's folder, for all its rungs; or one file, as `find_model` takes it.
    name : str, optional
        ``[namespace/]name``; by default the name in the file's metadata.
    tag : str, optional
        The tag of a single file; by default, its file type.
    wishes : Wishes, optional
        Additional settings for all files.

    Raises
    ------
    MissingFileError
        There is no such file.
    OutputError
        Ollama can't use a file, or two would have the same name.
    BadValueError
        Ollama would refuse the name.
    """
    folder = Path(source)
    paths = _models(ladder_files(folder)) if folder.is_dir() else [find_model(source)]
    models = [ollama_model(path, wishes) for path in paths]
    whole = ModelName.parse(name or _own_name(paths[0]))
    if name and ":" in name.rpartition("/")[2]:
        tag = tag or whole.tag
    if tag and len(models) > 1:
        raise OutputError(
            f"{source}: {len(models)} files can't all be {tag!r}: leave the tag out, "
            "or choose one as FOLDER:TYPE"
        )
    tag = tag or (None if folder.is_dir() else _tag(models[0]))
    tags = [(tag,)] if tag else _tags(models)
    return [
        NamedFile(model, tuple(_named(whole, each) for each in several))
        for model, several in zip(models, tags, strict=True)
    ]


def _models(paths: Sequence[Path]) -> list[Path]:
    """Leave out files that are not models: projectors, adapters, importance matrices."""
    found = []
    for path in paths:
        with open_gguf(path) as file:
            if kind_of(file.metadata) == "model":
                found.append(path)
    if not found:
        raise MissingFileError(f"{paths[0].parent}: no GGUF file there is a model")
    return found


def _named(whole: ModelName, tag: str) -> ModelName:
    return ModelName.parse(f"{whole.host}/{whole.namespace}/{whole.model}:{tag}")


def _tags(models: Sequence[OllamaModel]) -> list[tuple[str, ...]]:
    tags = [_tag(model) for model in models]
    double = next((tag for tag in tags if tags.count(tag) > 1), None)
    if double:
        files = [m.path.name for m, tag in zip(models, tags, strict=True) if tag == double]
        raise OutputError(f"{', '.join(files)}: all would be {double!r}: give one at a time")
    default = DEFAULT_LADDER.lower()
    latest = default if default in tags else tags[len(tags) // 2]
    return [(tag, TAG) if tag == latest else (tag,) for tag in tags]


def _tag(model: OllamaModel) -> str:
    known = model.file_type != "unknown"
    return model.file_type.lower() if known else _plain(model.path.stem)


def _own_name(path: Path) -> str:
    """Return the name in a file's metadata, or the file's name without the file type."""
    with open_gguf(path) as model:
        own = model.metadata.get("general.name")
    if isinstance(own, str) and _plain(own) != "model":
        return _plain(own)
    parsed = parse_part_name(path.name)
    return _plain(_TYPE.sub("", path.stem if parsed is None else parsed[0]))


def _plain(text: str) -> str:
    name = _OTHERS.sub("-", text.lower()).strip("-.")
    return name[:_LONGEST].rstrip("-.") or "model"
