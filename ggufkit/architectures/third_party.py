"""Architectures from elsewhere: those of installed packages, and those of one Python file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import entry_points
from pathlib import Path
from runpy import run_path
from typing import Any

from ggufkit.errors import ConversionError, GGUFKitError, MissingFileError
from ggufkit.mapping.spec import Architecture

# Entry points of this group name modules with architectures.
GROUP = "ggufkit.architectures"


@contextmanager
def _import_errors(where: str) -> Iterator[None]:
    try:
        yield
    except GGUFKitError:
        raise
    except Exception as error:
        raise ConversionError(f"{where}: {type(error).__name__}: {error}") from error


def _defined(names: Mapping[str, Any]) -> list[Architecture]:
    """Return the architectures among a module's names, but for those of this package."""
    prefix = f"{__package__}."
    ours = [vars(ours) for name, ours in sys.modules.items() if name.startswith(prefix)]
    imported = {id(value) for names in ours for value in names.values()}
    found = (a for a in names.values() if isinstance(a, Architecture))
    return [a for a in found if id(a) not in imported]


@cache
def installed() -> tuple[Architecture, ...]:
    """Return the architectures of installed packages, from their entry points.

    Raises
    ------
    ConversionError
        A module can't be imported, or defines none.
    """
    found: list[Architecture] = []
    for entry in entry_points(group=GROUP):
        where = f"entry point {entry.name} = {entry.value} of the group {GROUP}"
        with _import_errors(where):
            defined = _defined(vars(entry.load()))
        if not defined:
            raise ConversionError(f"{where}: the module defines no Architecture")
        found += defined
    return tuple(found)


@dataclass(frozen=True)
class ArchitectureFile:
    """A Python file with architectures.

    Attributes
    ----------
    name : str
        The file's, without its folder.
    sha256 : str
        The digest of its content.
    architectures : tuple of Architecture
        Those that it defines.
    """

    name: str
    sha256: str
    architectures: tuple[Architecture, ...]

    @property
    def origin(self) -> dict[str, str]:
        """What provenance says of it."""
        return {"file": self.name, "sha256": self.sha256}


def load_file(path: Path) -> ArchitectureFile:
    """Execute a Python file, to take the architectures that it defines.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    MissingFileError
        It doesn't exist.
    ConversionError
        It fails, or defines none.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    with _import_errors(str(path)):
        names = run_path(str(path), run_name=f"ggufkit_given_{path.stem}")
    defined = _defined(names)
    if not defined:
        raise ConversionError(f"{path} defines no Architecture")
    digest = sha256(path.read_bytes()).hexdigest()
    return ArchitectureFile(path.name, digest, tuple(defined))
