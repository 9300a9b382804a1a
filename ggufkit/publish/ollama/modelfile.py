"""Modelfiles. A value can never be read as an instruction.

Ollama's parser reads a value up to the first line end at which it is closed: it starts and ends
with the same quotes, one or three of them, or does not start with quotes. There is no escaping, and
characters that are not printable are dropped. Values that can't be written this way are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ggufkit.errors import OutputError
from ggufkit.io.atomic import output_errors
from ggufkit.io.text import write_text_atomic
from ggufkit.publish.ollama.model import OllamaModel, Value

NAME = "Modelfile"
_THREE = '"""'
_KEPT = "\n\t"


def modelfile(model: OllamaModel, folder: Path | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the text for a model, and notes about what is left out.

    Parameters
    ----------
    model : OllamaModel
        From `ollama_model`.
    folder : Path, optional
        Folder of the Modelfile; by default the model's.

    Raises
    ------
    OutputError
        The name of a file, the system text or the template can't be quoted.
    """
    notes = list(model.notes)
    lines = [f"# {_plain(note)}" for note in notes]
    folder = (folder or model.path.parent).resolve()
    lines.append(f"FROM {_path(model.path, folder)}")
    if model.adapter is not None:
        lines.append(f"ADAPTER {_path(model.adapter, folder)}")
    for word, text in (("TEMPLATE", model.template.text), ("SYSTEM", model.system)):
        if text:
            lines.append(f"{word} {quote(text)}")
    for word, value in _values(model):
        try:
            lines.append(f"{word} {quote(value) if isinstance(value, str) else value}")
        except OutputError as error:
            notes.append(f"not in the Modelfile: {word}: {error}")
    return "\n".join(lines) + "\n", tuple(notes)


def write_modelfiles(
    models: Sequence[tuple[OllamaModel, str]], folder: Path, force: bool = False
) -> list[Path]:
    """Write a Modelfile for each model: ``Modelfile``, or ``Modelfile.<tag>`` for several.

    Parameters
    ----------
    models : sequence of (OllamaModel, str)
        Models and their tags.
    folder : Path
        The output folder; it is created if need be.
    force : bool
        Replace files with another content.

    Raises
    ------
    OutputError
        A file exists or can't be written.
    """
    several = len(models) > 1
    files = {
        folder / (f"{NAME}.{tag}" if several else NAME): modelfile(model, folder)[0]
        for model, tag in models
    }
    for path, text in files.items():
        if not force and os.path.lexists(path) and _text(path) != text:
            raise OutputError(f"{path} exists: replace it with --force, or choose another folder")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        write_text_atomic(path, text)
    return list(files)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def quote(text: str) -> str:
    """Quote a value for Ollama's parser.

    Raises
    ------
    OutputError
        The value can't be quoted.

    Examples
    --------
    >>> quote("<|im_end|>")
    '"<|im_end|>"'
    """
    if _THREE in text:
        raise OutputError(f"a text with three quotes can't be a value: {_short(text)}")
    dropped = next((c for c in text if not c.isprintable() and c not in _KEPT), None)
    if dropped is not None:
        raise OutputError(f"Ollama drops {dropped!a} from values: {_short(text)}")
    if "\n" in text or '"' in text:
        return f"{_THREE}{text}{_THREE}"
    return f'"{text}"'


def _plain(note: str) -> str:
    """Return a note without line ends; it may quote an error of a chat template."""
    return "".join(char if char.isprintable() else "?" for char in note)


def _path(path: Path, folder: Path) -> str:
    """Return a file's path for a Modelfile; Ollama reads it without quotes, to the line's end."""
    whole = path.parent.resolve() / path.name
    name = f"./{path.name}" if whole.parent == folder else str(whole)
    if not name.isprintable() or name != name.strip():
        raise OutputError(f"{name!a} can't be named in a Modelfile: rename the file")
    return name


def _values(model: OllamaModel) -> Iterator[tuple[str, Value]]:
    for name, value in model.parameters.items():
        for item in value if isinstance(value, tuple) else (value,):
            yield f"PARAMETER {name}", item
    for text in model.licenses:
        yield "LICENSE", text


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")
