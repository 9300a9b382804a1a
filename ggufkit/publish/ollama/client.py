"""Sending models to a running server of Ollama, with its official client.

The client hashes each file as it sends it, and the server hashes what arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ggufkit.errors import GGUFKitError, OllamaError, OutputError
from ggufkit.publish.ollama.model import OllamaModel
from ggufkit.publish.ollama.names import ModelName
from ggufkit.toolbox import Progress, silent

if TYPE_CHECKING:
    from ollama import Client

_NOT_IN_NAMES = "\\:"


@contextmanager
def connect(host: str | None = None, progress: Progress = silent) -> Iterator[Client]:
    """Open a connection to a server.

    Parameters
    ----------
    host : str, optional
        Such as ``http://127.0.0.1:11434``; by default ``OLLAMA_HOST``, or this address.
    progress : callable
        Called with bytes that are sent, or that the server already has.

    Raises
    ------
    OllamaError
        The client is not installed, or the server fails inside the block.
    """
    try:
        import ollama

        from ggufkit.publish.ollama.transport import sending
    except ImportError as error:
        raise OllamaError(
            f"needs the package 'ollama': pip install ggufkit[ollama] ({error})"
        ) from error
    import httpx

    transport = sending(progress)
    try:
        yield ollama.Client(host or None, transport=transport)
    except GGUFKitError:
        raise
    except ollama.ResponseError as error:
        raise OllamaError(f"Ollama refuses: {error.error}") from error
    except (OSError, httpx.HTTPError) as error:
        where = host or "the server of Ollama"
        raise OllamaError(f"{where} can't be reached, is it running? {error}") from error
    except (ValueError, TypeError, httpx.InvalidURL) as error:
        # The host is malformed, or the answer is not Ollama's.
        raise OllamaError(f"{host or 'OLLAMA_HOST'}: no server of Ollama: {error}") from error
    finally:
        transport.close()


def refuse_tagged(client: Client, names: Iterable[ModelName]) -> None:
    """Refuse names that a server already has.

    Raises
    ------
    OutputError
        The server has one of them, in upper or lower case.
    """
    there = {(model.model or "").lower() for model in client.list().models}
    for name in names:
        if str(name).lower() in there:
            raise OutputError(
                f"the server has {name}: choose another --name or --tag, or replace it with --force"
            )


def send(client: Client, model: OllamaModel, names: Iterable[ModelName]) -> None:
    """Send a model's files, and have the server create a model from them for each name.

    Parameters
    ----------
    client : Client
        From `connect`.
    model : OllamaModel
        The model.
    names : iterable of ModelName
        The names of the model; existing models of these names are replaced.

    Raises
    ------
    OllamaError
        The server did not report success.
    """
    files = {_file_name(model.path): client.create_blob(model.path)}
    adapters = None
    if model.adapter is not None:
        adapters = {_file_name(model.adapter): client.create_blob(model.adapter)}
    for name in names:
        said = client.create(
            str(name),
            files=files,
            adapters=adapters,
            template=model.template.text or None,
            system=model.system or None,
            license=list(model.licenses) or None,
            parameters=model.json_parameters or None,
            stream=True,
        )
        last = [each.status for each in said][-1:]
        if last != ["success"]:
            raise OllamaError(f"{name}: the server ended with {last}, not with 'success'")


def _file_name(path: Path) -> str:
    """Return a file name that the server accepts."""
    return "model.gguf" if any(char in path.name for char in _NOT_IN_NAMES) else path.name
