"""A GGUF file as the source of a ladder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ggufkit.architectures.from_gguf_py import generic_provenance
from ggufkit.checkpoint.hub import hub_errors
from ggufkit.checkpoint.safetensors import Shard, ShardFile
from ggufkit.checkpoint.shards import identity_of
from ggufkit.checkpoint.stream import CACHE_BYTES, RemoteShard
from ggufkit.codecs import CODECS
from ggufkit.converter.sources.base import Source, SourceTensor
from ggufkit.converter.sources.row_readers import BlockReader
from ggufkit.errors import ConversionError
from ggufkit.gguf.layout import TensorInfo
from ggufkit.gguf.open import open_gguf
from ggufkit.gguf.reader import GGUFFile
from ggufkit.gguf.remote import RemoteFile
from ggufkit.gguf.split import COUNT, NO, TENSORS_COUNT
from ggufkit.io.http_ranges import HUB_NAME


@dataclass(frozen=True, kw_only=True)
class GGUFSource(Source):
    """A GGUF file, or a set of splits, whose tensors are encoded again.

    Attributes
    ----------
    readers : mapping of str to BlockReader
        By tensor name.
    """

    readers: Mapping[str, BlockReader]
    is_gguf: ClassVar[bool] = True

    @classmethod
    def open(
        cls, path: str | Path, *, allow_requantize: bool = False, cache_bytes: int = CACHE_BYTES
    ) -> GGUFSource:
        """Read the head of a GGUF file.

        Parameters
        ----------
        path : str or Path
            The file, or one of its splits; ``hf:owner/name/file.gguf`` and URLs are read by byte
            ranges.
        allow_requantize : bool
            Also take a file whose weights are quantized already.
        cache_bytes : int
            Bytes of fetched ranges that each process keeps.

        Raises
        ------
        FormatError
            It is not a well-formed GGUF file.
        ConversionError
            Its weights are quantized, and that is not allowed; or they can't be decoded.
        """
        name, commit = _pinned(str(path))
        with open_gguf(name) as file:
            infos = tuple(file.tensors.values())
            _check_types(path, infos, allow_requantize)
            metadata = file.metadata.copy()
            for key in (NO, COUNT, TENSORS_COUNT):
                metadata.pop(key, None)
            shards = [_shard_of(part, name, cache_bytes) for part in file.parts]
            n_remote = sum(s.size for s in shards if isinstance(s, RemoteShard))
            return cls(
                tensors=tuple(SourceTensor(info.name, info.shape, info.type) for info in infos),
                origin={
                    "kind": "gguf",
                    "name": Path(file.path or path).name,
                    "revision": commit,
                    "identity": identity_of(shards),
                    **generic_provenance(metadata),
                },
                base_metadata=metadata,
                readers={
                    info.name: _reader_of(info, shard, part.data_offset)
                    for part, shard in zip(file.parts, shards, strict=True)
                    for info in part.tensors.values()
                },
                n_remote=n_remote,
                cached_bytes=min(cache_bytes, n_remote),
            )

    @property
    def shards(self) -> Iterable[Shard]:
        """The files that weights are read from."""
        return dict.fromkeys(reader.shard for reader in self.readers.values())

    def reader(self, tensor: SourceTensor) -> BlockReader:
        """Return what reads a tensor's rows."""
        return self.readers[tensor.name]


def _shard_of(part: GGUFFile, name: str, cache_bytes: int) -> Shard:
    """Return what a part's bytes are read from."""
    if isinstance(part, RemoteFile):
        path, source = PurePosixPath(str(part.path)), part.source
        return RemoteShard(path, source.url, part.file_size, cache_bytes, source.version)
    return ShardFile.of(Path(part.path or name), part.status)


def _reader_of(info: TensorInfo, shard: Shard, data_offset: int) -> BlockReader:
    n_cols = info.shape[-1] if info.shape else 1
    return BlockReader(shard, data_offset + info.offset, info.type, n_cols)


def _pinned(name: str) -> tuple[str, str | None]:
    """Return the name of a file on the Hub with its commit, and that; other names as they are."""
    match = HUB_NAME.fullmatch(name)
    if match is None or not match["file"]:
        return name, None
    from huggingface_hub import HfApi

    with hub_errors(match["repo"], match["revision"]):
        commit = HfApi().model_info(match["repo"], revision=match["revision"]).sha
    return f"hf:{match['repo']}/{match['file']}@{commit}", commit


def _check_types(path: str | Path, infos: Sequence[TensorInfo], allow_requantize: bool) -> None:
    quantized = [info for info in infos if info.type.is_quantized]
    if quantized and not allow_requantize:
        raise ConversionError(
            f"{path}: {len(quantized)} tensors are quantized already ({quantized[0].name} is "
            f"{quantized[0].type.name}), and quantizing twice adds their errors. Start from "
            "F32, F16 or BF16, or say --allow-requantize"
        )
    strange = next((info for info in infos if info.type not in CODECS), None)
    if strange is not None:
        raise ConversionError(
            f"{path}: {strange.name} is {strange.type.name}: it stores no weights"
        )
