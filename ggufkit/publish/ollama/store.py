"""Ollama's store: blobs by digest, and for each name a manifest that lists its blobs.

::

    blobs/sha256-<hex>                                    weights, template, parameters, config
    manifests/registry.ollama.ai/library/<name>/<tag>     a manifest

Blobs are written first and the manifest last, so a model that Ollama lists is complete.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufkit.errors import OutputError
from ggufkit.io.atomic import output_errors
from ggufkit.io.positional import sync_folder
from ggufkit.publish.ollama.blobs import Blob, put_blob
from ggufkit.publish.ollama.model import OllamaModel, human_number
from ggufkit.publish.ollama.names import HOST, OTHER_HOST, ModelName, blob_path
from ggufkit.toolbox import Progress, silent

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.ollama.image."
MODEL, ADAPTER = _LAYER + "model", _LAYER + "adapter"
_MAX_MANIFEST = 4 << 20
# As Go writes JSON.
_ESCAPED = re.compile("[<>&\u2028\u2029]")


@dataclass(frozen=True)
class Image:
    """The blobs of a model in a store, and its manifest.

    Attributes
    ----------
    layers : tuple of Blob
        Weights, then the rest.
    config : Blob
        The description of the model.
    manifest : bytes
        The list of all blobs.
    """

    layers: tuple[Blob, ...]
    config: Blob
    manifest: bytes


def build_image(model: OllamaModel, weights: Sequence[Blob]) -> Image:
    """Return the image of a model.

    Parameters
    ----------
    model : OllamaModel
        The model.
    weights : sequence of Blob
        The blob of its file and, if there is one, of the adapter.
    """
    texts = [("template", model.template.text), ("system", model.system)]
    texts += [("license", text) for text in model.licenses]
    layers = [*weights]
    layers += [Blob.of_bytes(_LAYER + kind, text.encode()) for kind, text in texts if text]
    if model.parameters:
        layers.append(Blob.of_bytes(_LAYER + "params", go_json(model.json_parameters)))
    config = Blob.of_bytes(_CONFIG, config_json(model, layers))
    return Image(tuple(layers), config, manifest_json(config, layers))


def manifest_json(config: Blob, layers: Sequence[Blob]) -> bytes:
    """Return a manifest: the list of a model's blobs."""
    kind = {"schemaVersion": 2, "mediaType": _MANIFEST}
    described = [layer.describe() for layer in layers]
    return go_json({**kind, "config": config.describe(), "layers": described})


def config_json(model: OllamaModel, layers: Sequence[Blob]) -> bytes:
    """Return the description that Ollama shows without opening the model's file."""
    config = {
        "model_format": "gguf",
        "model_family": model.architecture,
        "model_families": [model.architecture],
        "model_type": human_number(model.n_weights),
        "file_type": model.file_type,
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }
    return go_json(config)


def go_json(value: Mapping[str, Any]) -> bytes:
    r"""Return JSON, byte for byte as Ollama (in Go) writes it.

    Examples
    --------
    >>> go_json({"stop": ["<|im_end|>"]})
    b'{"stop":["\\u003c|im_end|\\u003e"]}\n'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (_ESCAPED.sub(lambda c: f"\\u{ord(c[0]):04x}", text) + "\n").encode()


def is_taken(store: Path, name: ModelName) -> bool:
    """Whether a store has a model of this name, in upper or lower case."""
    return bool(_existing(store, name))


def import_model(
    store: Path,
    model: OllamaModel,
    names: Sequence[ModelName],
    *,
    force: bool = False,
    copy: bool = False,
    trust_sums: bool = False,
    progress: Progress = silent,
) -> str:
    """Put a file into a store under some names.

    Parameters
    ----------
    store : Path
        The store; it is created if need be.
    model : OllamaModel
        The file and its settings.
    names : sequence of ModelName
        The names of the model.
    force : bool
        Replace other models of these names.
    copy : bool
        Never share the file's bytes with the store.
    trust_sums : bool
        Do not hash the file; see `Blob.of_file`.
    progress : callable
        Called with bytes as they are hashed.

    Returns
    -------
    str
        How the weights were stored; see `put_blob`.

    Raises
    ------
    OutputError
        A name is taken, or the store can't be written.
    BadValueError
        The file does not have its recorded checksum.
    """
    weights = [Blob.of_file(MODEL, model.path, trust_sums=trust_sums, progress=progress)]
    if model.adapter is not None:
        weights.append(Blob.of_file(ADAPTER, model.adapter))
    image = build_image(model, weights)
    how = [put_image(store, name, image, force=force, copy=copy) for name in names]
    return how[0]


def put_image(
    store: Path, name: ModelName, image: Image, *, force: bool = False, copy: bool = False
) -> str:
    """Put a model into a store under a name.

    Parameters
    ----------
    store : Path
        The store; it is created if need be.
    name : ModelName
        The name of the model.
    image : Image
        From `build_image`.
    force : bool
        Replace another model of that name.
    copy : bool
        Never share the file's bytes with the store.

    Returns
    -------
    str
        How the weights were stored; see `put_blob`.

    Raises
    ------
    OutputError
        The name is taken, or the store can't be written.
    """
    existing = _existing(store, name)
    same = bool(existing) and _read(existing[0]) == image.manifest
    if existing and not same and not force:
        raise _taken(store, name)
    how = [put_blob(store, blob, copy=copy) for blob in (*image.layers, image.config)]
    if not same:
        _put_manifest(store, name, image, force=force)
    return how[0]


def _put_manifest(store: Path, name: ModelName, image: Image, *, force: bool) -> None:
    existing = _existing(store, name)
    old = [path for path in existing if path.is_relative_to(store / "manifests")]
    final = old[0] if old else store.joinpath("manifests", *name.parts)
    with output_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(blob_path(store, image.config.digest).parent, image.manifest)
        try:
            if force:
                temporary.replace(final)
            else:
                # Unlike a rename, a link does not replace a manifest that appeared meanwhile.
                _link_or_move(temporary, final)
        except FileExistsError:
            raise _taken(store, name) from None
        finally:
            temporary.unlink(missing_ok=True)
        for path in existing:
            if path != final:
                path.unlink(missing_ok=True)
        with suppress(OSError):  # not every system supports it
            sync_folder(final.parent)


def _taken(store: Path, name: ModelName) -> OutputError:
    return OutputError(
        f"{name} is another model in {store}: choose another --name or --tag, "
        "or replace it with --force"
    )


def _link_or_move(temporary: Path, final: Path) -> None:
    try:
        os.link(temporary, final)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        temporary.replace(final)


def _temporary(folder: Path, content: bytes) -> Path:
    """Write a file where Ollama does not look for models, and which it cleans up."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix="manifest-", delete=False) as file:
        path = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            path.chmod(0o644)  # the server may be another user
        except BaseException:
            path.unlink()
            raise
    return path


def _existing(store: Path, name: ModelName) -> list[Path]:
    """Return the manifests of a name in upper or lower case, in the order in which Ollama looks."""
    found = (_folded(store / root, (host, *name.parts[1:])) for root, host in _places(name.host))
    return [path for path in found if path is not None]


def _places(host: str) -> Iterator[tuple[str, str]]:
    """Yield folders and hosts; newer versions of Ollama use the first folder and another host."""
    public = host == HOST
    yield "manifests-v2", OTHER_HOST if public else host
    yield "manifests", host
    if public:
        yield "manifests", OTHER_HOST


def _folded(folder: Path, parts: Sequence[str]) -> Path | None:
    for part in parts:
        exact = folder / part
        if not os.path.lexists(exact):
            try:
                same = sorted(p for p in folder.iterdir() if p.name.lower() == part.lower())
            except OSError:
                return None
            if not same:
                return None
            exact = same[0]
        folder = exact
    return folder


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_MANIFEST)
    except OSError:
        return b""
