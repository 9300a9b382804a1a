"""What could be run: a file, the rungs in a folder, or those that a source can be converted to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ggufkit.checkpoint.header_only import open_header_only
from ggufkit.checkpoint.hub import REPO_ID
from ggufkit.converter.ladder import open_source, plan_ladder
from ggufkit.converter.sources.base import Source
from ggufkit.converter.sources.checkpoint import CheckpointSource
from ggufkit.errors import BadValueError, MissingFileError
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.split import parse_part_name
from ggufkit.toolbox.fit.typical import TypicalSource, parse_params, shape_for
from ggufkit.types import FileType

#: Read over the network, by byte ranges.
_REMOTE = re.compile(r"(?:hf|https?):", re.I)


@dataclass(frozen=True)
class Candidate:
    """A model in one encoding.

    Attributes
    ----------
    name : str
        The file type.
    file : str
        The file's name; empty if it does not exist yet.
    metadata : Metadata
        Its metadata.
    tensors : mapping of str to int
        Bytes of data by tensor.
    estimated : bool
        Whether sizes are those of a typical model rather than this one.
    """

    name: str
    file: str
    metadata: Metadata
    tensors: Mapping[str, int]
    estimated: bool = False


def candidates_of(source: str | os.PathLike[str], ladder: str | None = None) -> list[Candidate]:
    """Return the candidates of a source; no weight is read.

    Parameters
    ----------
    source : str or path-like
        A GGUF file or a part of a split model, local or remote; a folder of such files; a
        checkpoint's folder or repository.
    ladder : str, optional
        Rungs to plan, if the source can be converted.

    Raises
    ------
    GGUFKitError
        It can't be read or planned, or a folder holds no model.
    """
    text = os.fspath(source)
    if _REMOTE.match(text):
        return [_of_file(text)]
    path = Path(text)
    if path.is_dir() and not (path / "config.json").exists():
        return list(_of_folder(path))
    if path.suffix.lower() == ".gguf" and ladder is None:
        return [_of_file(text)]
    if not path.exists() and path.suffix.lower() != ".gguf" and REPO_ID.fullmatch(text):
        return _of_repository(text, ladder or "all")
    return list(_planned(open_source(text, allow_requantize=True, loadable=False), ladder or "all"))


def typical_candidates(params: str, ladder: str | None = None) -> list[Candidate]:
    """Return the rungs of a typical model with so many parameters, such as ``70B``."""
    n_weights = parse_params(params)
    shape = shape_for(n_weights)
    scale = n_weights / shape.n_weights
    return [
        Candidate(
            planned.name,
            "",
            planned.metadata,
            {name: round(n_bytes * scale) for name, n_bytes in planned.tensors.items()},
            estimated=True,
        )
        for planned in _planned(TypicalSource.of(shape), ladder or "all")
    ]


def _of_file(path: str) -> Candidate:
    with open_gguf(path) as model:
        tensors = {name: info.nbytes for name, info in model.tensors.items()}
        name = re.split(r"[/\\]", path)[-1]
        return Candidate(file_type_of(model.metadata, name), name, model.metadata.copy(), tensors)


def file_type_of(metadata: Metadata, name: str) -> str:
    """Return a file's type from its metadata, or else its name without the extension."""
    number = metadata.get("general.file_type")
    known = {int(file_type): file_type.name for file_type in FileType}
    return known.get(number if isinstance(number, int) else -1, name.removesuffix(".gguf"))


def _of_folder(folder: Path) -> Iterator[Candidate]:
    """Yield the models in a folder, split ones once."""
    names = sorted(path.name for path in folder.glob("*.gguf"))
    wanted = [name for name in names if (parse_part_name(name) or ("", 0, 1))[1] == 0]
    found = [_of_file(str(folder / name)) for name in wanted]
    models = [c for c in found if c.tensors and not _is_addition(c.metadata)]
    if not models:
        raise MissingFileError(f"{folder}: neither GGUF models nor a checkpoint's config.json")
    if len({c.metadata.get("general.architecture") for c in models}) > 1:
        raise BadValueError("its files belong to several models: name one file", path=folder)
    yield from models


def _is_addition(metadata: Metadata) -> bool:
    """Whether a file is a projector or an adapter."""
    return (
        metadata.get("general.architecture") == "clip" or metadata.get("general.type") == "adapter"
    )


def _of_repository(repo_id: str, ladder: str) -> list[Candidate]:
    """Plan a repository's rungs from the headers of its files."""
    with TemporaryDirectory(prefix="ggufkit-") as folder:
        checkpoint = open_header_only(repo_id, Path(folder))
        return list(_planned(CheckpointSource.open(checkpoint), ladder))


def _planned(source: Source, ladder: str) -> Iterator[Candidate]:
    plan = plan_ladder(source, Path(), ladder)
    for rung in plan.rungs:
        tensors = {name: target.n_bytes for name, target in rung.targets.items()}
        yield Candidate(rung.name, "", source.metadata(rung.recipe.file_type), tensors)
