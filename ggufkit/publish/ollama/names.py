"""Names of models and digests of blobs: the ones that Ollama accepts, and their paths in its store.

Input from outside only becomes a path through `ModelName.parse` and `parse_digest`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ggufkit.errors import BadValueError, OutputError

HOST = "registry.ollama.ai"
#: Another name of the same host.
OTHER_HOST = "ollama.com"
NAMESPACE = "library"
TAG = "latest"

_ALLOWED = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,79}"),
}
_DIGEST = re.compile(r"sha256[:\-]([0-9a-fA-F]{64})")
_SERVICE = Path("/usr/share/ollama/.ollama/models")


@dataclass(frozen=True)
class ModelName:
    """A model's name, complete: ``registry.ollama.ai/library/smollm2:q4_k_m``."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Parse ``[[host/]namespace/]model[:tag]``.

        Raises
        ------
        BadValueError
            Ollama would refuse it.

        Examples
        --------
        >>> ModelName.parse("me/smollm2")
        ModelName(host='registry.ollama.ai', namespace='me', model='smollm2', tag='latest')
        """
        place, slash, last = text.rpartition("/")
        model, colon, tag = last.partition(":")
        host, between, namespace = place.rpartition("/")
        parts = {
            "host": host if between and host.lower() not in (HOST, OTHER_HOST) else HOST,
            "namespace": namespace if slash else NAMESPACE,
            "model": model,
            "tag": tag if colon else TAG,
        }
        for part, value in parts.items():
            if not _ALLOWED[part].fullmatch(value):
                raise BadValueError(
                    f"{text!a} is no name of a model: the {part}, {value!a}, starts with a letter, "
                    "a digit or '_'; '-' and, but in a namespace, '.' may follow, 80 characters "
                    "at most: [NAMESPACE/]NAME[:TAG]"
                )
        return cls(**parts)

    @property
    def parts(self) -> tuple[str, str, str, str]:
        """Host, namespace, model and tag."""
        return (self.host, self.namespace, self.model, self.tag)

    def __str__(self) -> str:
        """Return the name as Ollama shows it, without defaults."""
        shown = f"{self.model}:{self.tag}"
        if self.host != HOST:
            return f"{self.host}/{self.namespace}/{shown}"
        return shown if self.namespace == NAMESPACE else f"{self.namespace}/{shown}"


def parse_digest(text: str) -> str:
    """Return a digest as Ollama writes it, ``sha256:`` and 64 lower-case hexadecimal digits.

    Raises
    ------
    BadValueError
        The text is not a digest.
    """
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise BadValueError(f"{text[:100]!a}: expected 'sha256:' and 64 hexadecimal digits")
    return f"sha256:{match[1].lower()}"


def blob_path(store: Path, digest: str) -> Path:
    """Return the path of a blob in a store.

    Raises
    ------
    BadValueError
        The digest is malformed.
    """
    return store / "blobs" / parse_digest(digest).replace(":", "-")


def default_store() -> Path:
    """Return where Ollama keeps models: ``OLLAMA_MODELS``, the user's folder or the service's.

    Raises
    ------
    OutputError
        The user has no home folder.
    """
    named = os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    if named:
        return Path(named)
    try:
        own = Path.home() / ".ollama" / "models"
    except RuntimeError as error:
        raise OutputError(f"no home folder: name the store with OLLAMA_MODELS: {error}") from error
    return _SERVICE if _SERVICE.is_dir() and not own.is_dir() else own
