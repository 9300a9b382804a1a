"""The tokenizer files of a checkpoint folder, each read at most once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ggufkit.errors import CheckpointError, named
from ggufkit.io.guarded_files import MAX_TOKENIZER_BYTES, has_file, read_bytes, read_json
from ggufkit.tokenizers.legacy import read_legacy

MAX_TEMPLATE_BYTES = 16 << 20
# What a note shows of a value, and of several.
MAX_SHOWN = 80
MAX_NAMED = 3


class TokenizerFiles:
    """The tokenizer files of a checkpoint folder, each read at most once; None if missing.

    Parameters
    ----------
    folder : Path
        The checkpoint.
    architecture : str, optional
        ``general.architecture`` of the model.

    Attributes
    ----------
    notes : list of str
        What is left out, contradictory or doubtful in them, as far as they were converted.
    """

    def __init__(self, folder: Path, architecture: str = "") -> None:
        self.folder = folder
        self.architecture = architecture
        self.notes: list[str] = []
        self._read: dict[str, dict[str, Any] | None] = {}

    def note(self, text: str) -> None:
        """Remember, once, what a reader of the summary should know."""
        if text not in self.notes:
            self.notes.append(text)

    def note_all(self, found: Sequence[object], text: str) -> None:
        """Remember what is so of several things; the first are named in place of ``{}``."""
        if found:
            self.note(text.format(named([shorten(item) for item in found], MAX_NAMED)))

    @cached_property
    def tokenizer_json(self) -> dict[str, Any] | None:
        """``tokenizer.json``."""
        return self.json("tokenizer.json", MAX_TOKENIZER_BYTES)

    @cached_property
    def tokenizer_json_or_legacy(self) -> dict[str, Any] | None:
        """``tokenizer.json``, or its equivalent made from older files."""
        return read_legacy(self) if self.tokenizer_json is None else self.tokenizer_json

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """``tokenizer_config.json``."""
        return self.json("tokenizer_config.json", MAX_TOKENIZER_BYTES)

    @cached_property
    def model_config(self) -> dict[str, Any] | None:
        """``config.json``, unchanged."""
        return self.json("config.json")

    def has(self, name: str) -> bool:
        """Whether the folder has a file `name`."""
        return has_file(self.folder, name)

    def json(self, name: str, limit: int = 8 << 20) -> dict[str, Any] | None:
        """Return the JSON object in a file."""
        if name not in self._read:
            self._read[name] = read_json(self.folder, name, limit) if self.has(name) else None
        return self._read[name]

    def text(self, name: str, limit: int = MAX_TEMPLATE_BYTES) -> str | None:
        """Return the text of a file; line ends become LF, as when the converter reads it."""
        if not self.has(name):
            return None
        try:
            text = read_bytes(self.folder, name, limit).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{self.folder / name}: not UTF-8: {error}") from error
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def names(self, folder: str, suffix: str) -> list[str]:
        """Return the sorted paths of files in a subfolder whose names end in `suffix`."""
        if not (self.folder / folder).is_dir():
            return []
        found = (path.name for path in (self.folder / folder).iterdir())
        return sorted(f"{folder}/{name}" for name in found if name.endswith(suffix))

    def malformed(self, name: str, what: str) -> CheckpointError:
        """Return the error that names a malformed file."""
        return CheckpointError(f"{self.folder / name}: {what}")


def get(value: Any, *keys: str) -> Any:
    """Return ``value[key][...]`` of nested JSON objects, or None if a key is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def as_list(value: Any) -> list[Any]:
    """Return a JSON list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def shorten(value: object) -> str:
    """Return a value as a note shows it."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
