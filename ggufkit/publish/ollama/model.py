"""A GGUF file as a model of Ollama: template, parameters, license and description."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

from ggufkit.errors import BadValueError, GGUFKitError, MissingFileError, OutputError
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.model import GGUFModel
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.split import parse_part_name
from ggufkit.publish.llama_cpp.chat import special_token
from ggufkit.publish.ollama.template import SURROGATE, GoTemplate, go_template
from ggufkit.rules.llama_cpp import ARCHITECTURES
from ggufkit.types import FileType

Value: TypeAlias = str | int | float

# Keys of a GGUF file, and what Ollama calls them.
_SAMPLING = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_last_n": "repeat_last_n",
    "general.sampling.penalty_repeat": "repeat_penalty",
}
_STOPS = ("eos", "eot", "eom")
# Types of tokens that are not text: control and user-defined.
_MARKS = (3, 4)
_MAX_TOKENS_LOOKED_AT = 1 << 21
_MOST_FILES = 64  # of a folder that are looked at

_NO_MODEL = {
    "mmproj": "is a projector: import the language model next to it instead",
    "adapter": "is an adapter: import its base model with --adapter and this file",
    "imatrix": "is an importance matrix: 'ggufkit convert SOURCE --imatrix FILE' uses it",
    "whisper model": "is a whisper model, which Ollama does not run: use whisper.cpp",
}


@dataclass(frozen=True)
class Wishes:
    """Settings that the user adds to those of the file.

    Attributes
    ----------
    system : str
        The system text.
    context : int or None
        The context length in tokens.
    adapter : Path or None
        A LoRA adapter, as GGUF.
    """

    system: str = ""
    context: int | None = None
    adapter: Path | None = None


@dataclass(frozen=True)
class OllamaModel:
    """A file and its settings in Ollama.

    Attributes
    ----------
    path : Path
        The GGUF file.
    n_bytes : int
        Its size.
    file_type : str
        As Ollama shows it: ``Q4_K_M``.
    architecture : str
        As in the file.
    n_weights : int
        The number of weights.
    template : GoTemplate
        The prompt template.
    parameters : mapping
        Such as ``stop``, a tuple of texts, and ``temperature``.
    system : str
        The system text, empty if there is none.
    licenses : tuple of str
        The licenses in the file.
    adapter : Path or None
        A LoRA adapter.
    notes : tuple of str
        Messages for the user.
    """

    path: Path
    n_bytes: int
    file_type: str
    architecture: str
    n_weights: int
    template: GoTemplate
    parameters: Mapping[str, Value | tuple[str, ...]]
    system: str
    licenses: tuple[str, ...]
    adapter: Path | None
    notes: tuple[str, ...]

    @property
    def json_parameters(self) -> dict[str, Any]:
        """The parameters as in JSON, by name."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in sorted(self.parameters.items())
        }


def ollama_model(path: Path, wishes: Wishes | None = None) -> OllamaModel:
    """Describe a file; no weights are read.

    Parameters
    ----------
    path : Path
        A GGUF file.
    wishes : Wishes, optional
        Additional settings.

    Raises
    ------
    OutputError
        The file is split, or not a model, or a setting does not fit it.
    FormatError
        The file is malformed.
    """
    wishes = wishes or Wishes()
    if SURROGATE.search(wishes.system):
        raise OutputError("the system text is not valid Unicode")
    with open_gguf(path) as model:
        if len(model.parts) > 1:
            raise OutputError(_of_parts(path, len(model.parts)))
        metadata = model.metadata
        kind = kind_of(metadata)
        if kind != "model":
            raise OutputError(f"{path}: {_NO_MODEL.get(kind, f'is of type {kind!r}, no model')}")
        template = go_template(metadata)
        return OllamaModel(
            path=path,
            n_bytes=model.file_size,
            file_type=_file_type(metadata),
            architecture=metadata.get_str("general.architecture", ""),
            n_weights=sum(info.n_weights for info in model.tensors.values()),
            template=template,
            parameters=_parameters(model, template, wishes),
            system=wishes.system,
            licenses=_licenses(metadata),
            adapter=None if wishes.adapter is None else _adapter(wishes.adapter),
            notes=(*template.notes, *_projectors_next_to(path)),
        )


def kind_of(metadata: Metadata) -> str:
    """Return ``model`` for a language model, else what a file is, as `general.type` would say it.

    Older projectors, and models of other programs, do not say it.
    """
    architecture = str(metadata.get("general.architecture", "unknown"))
    kind = str(metadata.get("general.type", "model"))
    if kind != "model":
        return kind
    if architecture == "clip":
        return "mmproj"
    # one that is newer than this program is not refused, but it has a tokenizer
    talks = architecture in ARCHITECTURES or "tokenizer.ggml.tokens" in metadata
    return kind if talks and architecture != "whisper" else f"{architecture} model"


def _of_parts(path: Path, n_parts: int) -> str:
    found = parse_part_name(path.name)
    one = path.with_name(f"{path.stem if found is None else found[0]}.gguf")
    first, out = shlex.quote(str(path)), shlex.quote(str(one))
    return (
        f"{path}: is one of {n_parts} parts, which not every Ollama supports: "
        f"'ggufkit merge {first} {out}' makes one file of them; then use {one}"
    )


def _projectors_next_to(path: Path) -> tuple[str, ...]:
    """Name the projectors in a model's folder: without one it sees no image and hears no sound."""
    found = []
    for other in islice(sorted(path.parent.glob("*.gguf")), _MOST_FILES):
        try:
            with GGUFFile.open(other, strict=False) as file:
                if kind_of(file.metadata) == "mmproj":
                    found.append(other.name)
        except GGUFKitError:  # what another file is wrong with does not matter here
            continue
    if not found:
        return ()
    return (
        f"{', '.join(found)} next to {path.name} is a projector, which is not imported: the model "
        "takes text alone. For images, write a Modelfile with --out, add a line "
        f"'FROM {path.parent.resolve() / found[0]}' to it, and use 'ollama create'.",
    )


def human_number(number: int) -> str:
    """Return a number of weights as Ollama writes it.

    Examples
    --------
    >>> [human_number(n) for n in (134_515_008, 8_030_261_248, 7_000_000_000)]
    ['134.52M', '8.0B', '7B']
    """
    for size, digits, letter in ((10**9, 1, "B"), (10**6, 2, "M")):
        if number >= size:
            return f"{number / size:.{0 if number % size == 0 else digits}f}{letter}"
    return f"{number / 1000:.0f}K" if number >= 1000 else str(number)


def _file_type(metadata: Metadata) -> str:
    number = metadata.get("general.file_type")
    try:
        return FileType(number).name  # type: ignore[arg-type]
    except ValueError:
        return "unknown"


def _parameters(
    model: GGUFModel, template: GoTemplate, wishes: Wishes
) -> dict[str, Value | tuple[str, ...]]:
    metadata = model.metadata
    found: dict[str, Value | tuple[str, ...]] = {}
    for key, name in _SAMPLING.items():
        value = metadata.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            # A float32 as the shortest text that means it: 0.7, not 0.699999988.
            short = float(f"{value:.7g}")
            found[name] = int(short) if short.is_integer() else short
    if wishes.context is not None:
        found["num_ctx"] = _context(metadata, wishes.context)
    stops = stop_texts(metadata, template)
    if stops and template.text:
        found["stop"] = stops
    return found


def _context(metadata: Metadata, context: int) -> int:
    architecture = metadata.get("general.architecture")
    longest = metadata.get(f"{architecture}.context_length")
    if isinstance(longest, int) and context > longest:
        raise OutputError(
            f"a context of {context} tokens, but the model supports {longest} at most"
        )
    return context


def stop_texts(metadata: Metadata, template: GoTemplate) -> tuple[str, ...]:
    """Return the texts at which an answer ends: those after a turn, and the tokens that end it."""
    if template.parts is None:
        return ()
    marks = _marks(metadata)
    behind, before = template.parts.assistant[1], template.parts.user[0]
    found = [mark for mark in marks if mark in behind or mark in before]
    found.sort(key=lambda mark: (mark not in behind, (behind + before).index(mark)))
    ends = [special_token(metadata, name) for name in _STOPS]
    if not any(mark in behind for mark in [*found, *filter(None, ends)]):
        found.append(before.strip())
    bos = special_token(metadata, "bos")
    return tuple(dict.fromkeys(text for text in [*found, *ends] if text and text != bos))


def _marks(metadata: Metadata) -> list[str]:
    """Return the tokens that are not text."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    types = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, Sequence) or not isinstance(types, Sequence):
        return []
    return [
        str(token)
        for token, kind in zip(tokens[:_MAX_TOKENS_LOOKED_AT], types, strict=False)
        if kind in _MARKS and len(str(token)) > 1 and str(token).strip()
    ]


def _licenses(metadata: Metadata) -> tuple[str, ...]:
    keys = ("general.license", "general.license.name", "general.license.link")
    texts = [metadata.get(key) for key in keys]
    found = [text for text in texts if isinstance(text, str) and text.strip()]
    return ("\n".join(dict.fromkeys(found)),) if found else ()


def _adapter(path: Path) -> Path:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    with open_gguf(path) as adapter:
        if adapter.metadata.get("general.type") != "adapter":
            raise BadValueError("is not an adapter: general.type is not 'adapter'", path=path)
    return path
