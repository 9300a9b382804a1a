"""A checkpoint: its config and its tensors by name, from a folder or from the Hub."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from ggufkit.checkpoint.folder_kinds import describe
from ggufkit.checkpoint.hub import REPO_ID, fetch
from ggufkit.checkpoint.quantized import dequantized_view
from ggufkit.checkpoint.safetensors import CheckpointTensor, Shard, read_float32, read_raw
from ggufkit.checkpoint.shards import identity_of, read_tensors, shards_of
from ggufkit.checkpoint.stream import CACHE_BYTES, open_remote
from ggufkit.errors import CheckpointError, MissingFileError, MissingTensorError
from ggufkit.io.guarded_files import has_file, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

# Files with the settings of quantized weights, and their method where they do not say it.
SETTINGS_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face checkpoint. Only headers are read until tensors are asked for.

    Instances can be shared between threads and pickled; reads keep no file open.

    Attributes
    ----------
    path : Path
        The folder.
    config : dict
        ``config.json``, unchanged.
    tensors : mapping of str to CheckpointTensor
        Every tensor, in the order in which ``convert_hf_to_gguf.py`` visits them: shards sorted
        by file name, and names sorted as strings inside a shard.
    repo_id, revision : str or None
        The Hub's repository and commit, if the checkpoint came from there.
    quantized : str
        How the weights are quantized; empty if they are not.
    n_remote : int
        Total size of the shards that are read from the Hub.
    cache_bytes : int
        Fetched bytes that each process caches, for weights that are needed again.
    shards : tuple of Shard
        The files that weights are read from.
    changes : str
        What is done to weights when they are read; empty if nothing is.
    """

    path: Path
    config: dict[str, Any]
    _tensors: dict[str, CheckpointTensor]
    repo_id: str | None = None
    revision: str | None = None
    quantized: str = ""
    n_remote: int = 0
    cache_bytes: int = 0
    shards: tuple[Shard, ...] = ()
    changes: str = ""

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        cache_dir: Path | None = None,
        token: str | None = None,
        endpoint: str | None = None,
        weights: bool = True,
        stream: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> Self:
        """Open a local folder or, for ``owner/name``, a repository of the Hub.

        Parameters
        ----------
        source : str or Path
            The folder; or the repository, whose config, tokenizer and weights are fetched into
            the Hub's cache.
        revision : str, optional
            Branch, tag or commit of the repository.
        cache_dir, token, endpoint : optional
            See `ggufkit.checkpoint.hub.fetch`.
        weights : bool
            Whether weights are required. If not, none are fetched, and a folder without a complete
            set of them has no tensors.
        stream : bool
            Leave a repository's weights on the Hub, and read them by byte ranges.
        cache_bytes : int
            Fetched bytes that each process caches, for weights that are needed again.

        Raises
        ------
        MissingFileError
            The folder, its config or its weights are missing.
        CheckpointError
            A file is malformed, or the repository can't be fetched.
        """
        folder = Path(source)
        is_named = isinstance(source, str) and REPO_ID.fullmatch(source)
        repo_id = str(source) if is_named and not folder.exists() else None
        if stream:
            if repo_id is None:
                raise CheckpointError(f"{source}: only a repository ('owner/name') can be streamed")
            folder, config, tensors = open_remote(repo_id, revision, cache_bytes)
            shards = shards_of(tensors)
            n_remote = sum(shard.size for shard in shards)
            tensors, quantized = dequantized_view(_quantization(folder, config), tensors)
            opened = cls(folder, config, tensors, repo_id, folder.name, quantized, n_remote)
            return replace(opened, cache_bytes=cache_bytes, shards=shards)
        if repo_id is not None:
            folder = fetch(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                endpoint=endpoint,
                weights=weights,
            )
        elif not folder.is_dir():
            raise MissingFileError(f"{source}: {_no_folder(folder)}")
        elif revision is not None:
            raise CheckpointError(f"{source}: a local folder has no revision {revision!r}")
        try:
            config = _read_config(folder)
            stored = read_tensors(folder) if weights else _tensors_if_complete(folder)
        except MissingFileError as error:
            if repo_id is None:
                raise
            raise MissingFileError(_of_repository(str(error), folder, repo_id)) from error
        tensors, quantized = (
            dequantized_view(_quantization(folder, config), stored) if stored else (stored, "")
        )
        commit = folder.name if repo_id is not None else None
        shards = shards_of(stored)
        return cls(folder, config, tensors, repo_id, commit, quantized, shards=shards)

    @property
    def tensors(self) -> Mapping[str, CheckpointTensor]:
        """Every tensor, in the order of ``convert_hf_to_gguf.py``."""
        return MappingProxyType(self._tensors)

    @property
    def folder_name(self) -> str:
        """The name of the folder, or of the repository without its owner."""
        return self.repo_id.rpartition("/")[2] if self.repo_id else self.path.name

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, in numpy order."""
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    @property
    def identity(self) -> str:
        """A digest that changes whenever the config or the content of a shard does."""
        return identity_of(self.shards, json.dumps(self.config, sort_keys=True), self.changes)

    def read(self, name: str, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Return a tensor, or some of its rows, as a new float32 array.

        BF16 and F16 widen exactly; F64 and integers are rounded to the nearest float32.

        Parameters
        ----------
        name : str
            The tensor's name in the checkpoint.
        rows : slice, optional
            The rows, along the first axis; without a step.

        Returns
        -------
        (n_rows, *shape[1:]) float32

        Raises
        ------
        MissingTensorError
            No tensor has this name.
        UnsupportedDtypeError
            The tensor is stored in FP8 or smaller.
        CheckpointError
            The file can't be read, or has changed since the checkpoint was opened.
        """
        return read_float32(self._find(name), rows)

    def read_raw(self, name: str, rows: slice = slice(None)) -> NDArray[Any]:
        """Return a tensor, or some of its rows, as stored; bfloat16 as its bits in uint16.

        Parameters and errors are those of `read`.
        """
        return read_raw(self._find(name), rows)

    def _find(self, name: str) -> CheckpointTensor:
        try:
            return self._tensors[name]
        except KeyError:
            raise MissingTensorError(f"{self.path}: no tensor {name!r}") from None

    def close(self) -> None:
        """Do nothing: reads keep no file open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _no_folder(path: Path) -> str:
    if path.is_file():
        return f"is a file; name the folder of the checkpoint, {shlex.quote(str(path.parent))}"
    return "neither a folder nor a repository of the Hub ('owner/name')"


def _of_repository(message: str, folder: Path, repo_id: str) -> str:
    """Return an error about a repository's folder in the cache as one about the repository."""
    return (
        f"{message.replace(shlex.quote(str(folder)), repo_id)}. If the repository has GGUF files, "
        f"name one of them as hf:{repo_id}/FILE.gguf; 'ggufkit inspect hf:{repo_id}' lists them"
    )


def _read_config(folder: Path) -> dict[str, Any]:
    """Return config.json; an error says what the folder is that has none."""
    try:
        return read_json(folder, "config.json")
    except MissingFileError as error:
        what = describe(folder)
        if not what:
            raise
        raise MissingFileError(f"{folder}: no config.json; {what}") from error


def _quantization(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with the settings of files that older packers put next to it."""
    for name, method in SETTINGS_FILES.items():
        if not config.get("quantization_config") and has_file(folder, name):
            settings = {"quant_method": method, **read_json(folder, name)}
            return {**config, "quantization_config": settings}
    return config


def _tensors_if_complete(folder: Path) -> dict[str, CheckpointTensor]:
    try:
        return read_tensors(folder)
    except MissingFileError:
        return {}
