"""The vision encoder and projector of a model, as a GGUF file of its own: llama.cpp's mmproj.

llama.cpp takes it in addition to the language model's file. The bytes are those of
``convert_hf_to_gguf.py --mmproj``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufkit.architectures.left_out import NOT_USED, group
from ggufkit.architectures.vision import find_vision
from ggufkit.architectures.vision.base import NAME, VisionFamily
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.checkpoint.safetensors import Shard
from ggufkit.checkpoint.stream import CACHE_BYTES
from ggufkit.converter.sources.base import (
    FILE_TYPE_KEY,
    QUANTIZATION,
    Reader,
    Source,
    SourceTensor,
    file_name,
)
from ggufkit.converter.sources.checkpoint import checkpoint_origin
from ggufkit.converter.sources.row_readers import reader_of, shape_of, source_type_of
from ggufkit.errors import ConversionError, MissingWeightsError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.guarded_files import MAX_TOKENIZER_BYTES, has_file, read_json
from ggufkit.mapping.matching import MappedTensor, canonical_name, map_tensors
from ggufkit.mapping.spec import Context, config_errors
from ggufkit.types import FileType, OutType, TensorType

# Where transformers keeps how images are prepared; the later file counts.
PROCESSORS = (
    ("preprocessor_config.json", "media_proc_cfg"),
    ("processor_config.json", "image_processor"),
)
PATCHES = (".patch_embd.weight", ".patch_merger.weight")


@dataclass(frozen=True, kw_only=True)
class MmprojSource(Source):
    """The vision encoder and projector of a checkpoint.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where weights are read.
    mapped : mapping of str to MappedTensor
        How they come out of the checkpoint, by name.
    """

    checkpoint: Checkpoint
    mapped: Mapping[str, MappedTensor]

    @classmethod
    def open(
        cls,
        source: str | Path,
        *,
        outtype: OutType = "f16",
        revision: str | None = None,
        name: str | None = None,
        stream: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ) -> MmprojSource:
        """Match a checkpoint's vision tensors with what llama.cpp's clip.cpp reads.

        Parameters
        ----------
        source, revision, name, stream, cache_bytes
            See `ggufkit.converter.ladder.open_source`; a GGUF file is no source.
        outtype : {"f32", "f16", "bf16", "q8_0"}
            Type of the matrices.

        Raises
        ------
        UnknownArchitectureError
            Its vision encoder can't be converted; the message names those that can.
        CheckpointError, ConversionError
            A file is missing or malformed, or tensors do not fit.
        """
        checkpoint = Checkpoint.open(
            source, revision=revision, stream=stream, cache_bytes=cache_bytes
        )
        family = find_vision(checkpoint.config)
        with config_errors(family.architecture):
            config = family.complete(checkpoint.config, _processor(checkpoint.path))
            if family.marker:
                config["marker"] = _token_id(checkpoint.path, family.marker)
            names = _own_names(checkpoint, family, config)
            mapped = tuple(map_tensors(family.architecture, names, Context(config, n_tokens=0)))
            keys = family.metadata(config)
            tensors = tuple(_describe(checkpoint, family, tensor, outtype) for tensor in mapped)
        file_type = FileType[outtype.upper()]
        metadata = _general(checkpoint, tensors, name)
        metadata[FILE_TYPE_KEY] = int(file_type)
        metadata.extend(keys)
        metadata.update(QUANTIZATION)
        return cls(
            checkpoint=checkpoint,
            tensors=tensors,
            mapped={tensor.name: tensor for tensor in mapped},
            origin={**checkpoint_origin(checkpoint), "part": "mmproj", **_left_out(names, mapped)},
            base_metadata=metadata,
            file_types=(file_type,),
            n_remote=checkpoint.n_remote,
            cached_bytes=min(checkpoint.cache_bytes, checkpoint.n_remote),
        )

    @property
    def projector(self) -> str:
        """The kind of projector, as llama.cpp calls it."""
        return str(self.base_metadata[f"{NAME}.projector_type"])

    def file_name(self, encoding: str) -> str:
        """Return the name that the converter gives the file."""
        return f"mmproj-{file_name(self.base_metadata, encoding, with_size=False)}"

    def reader(self, tensor: SourceTensor) -> Reader:
        """Return what reads a tensor's rows, after its transform."""
        return reader_of(self.checkpoint, self.mapped[tensor.name], tensor.shape)

    @property
    def shards(self) -> Iterable[Shard]:
        """The files that weights are read from."""
        return self.checkpoint.shards


def _general(checkpoint: Checkpoint, tensors: Sequence[SourceTensor], name: str | None) -> Metadata:
    return general_metadata(
        checkpoint.path,
        checkpoint.config,
        shapes={tensor.name: tensor.shape for tensor in tensors},
        architecture=NAME,
        name=name,
        folder_name=checkpoint.folder_name,
        kind="mmproj",
    )


def _describe(
    checkpoint: Checkpoint, family: VisionFamily, mapped: MappedTensor, outtype: OutType
) -> SourceTensor:
    shape = shape_of(checkpoint, mapped)
    wanted = _type_of(family, mapped.name, shape, outtype)
    return SourceTensor(mapped.name, shape, source_type_of(checkpoint, mapped), wanted)


def _own_names(
    checkpoint: Checkpoint, family: VisionFamily, config: Mapping[str, Any]
) -> list[str]:
    """Return the names of the tensors of a checkpoint's vision part."""
    names = [
        name
        for name in checkpoint.tensors
        if canonical_name(family.architecture, config, name).startswith(family.prefixes)
    ]
    if not names:
        raise MissingWeightsError(
            f"{checkpoint.path}: has no tensors of a vision part ({', '.join(family.prefixes)}); "
            "is it the language model alone?"
        )
    return names


def _left_out(names: Sequence[str], mapped: Sequence[MappedTensor]) -> dict[str, Any]:
    """Return what the origin says of tensors of the vision part that llama.cpp does not use."""
    used = {source for tensor in mapped for source in tensor.sources}
    rest = [name for name in names if name not in used]
    return {"left_out": [group(rest, NOT_USED)]} if rest else {}


def _type_of(
    family: VisionFamily, name: str, shape: tuple[int, ...], outtype: OutType
) -> TensorType:
    """Return a tensor's type, which the converter decides in this order."""
    if len(shape) < 2 or name.endswith("_norm.weight"):
        return TensorType.F32
    forced = next((type_ for part, type_ in family.types.items() if part in name), None)
    if forced is not None:
        return forced
    if any(part in name for part in PATCHES):
        return TensorType.F16 if outtype == "f16" else TensorType.F32
    if name == "v.position_embd.weight" or not name.endswith(".weight"):
        return TensorType.F32
    wanted = TensorType[outtype.upper()]
    return TensorType.F16 if shape[-1] % wanted.block_size else wanted


def _processor(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in PROCESSORS:
        if has_file(folder, name):
            given = read_json(folder, name)
            nested = given.get(inner)
            found |= {**given, **(nested if isinstance(nested, dict) else {})}
    return found


def _token_id(folder: Path, token: str) -> int:
    """Return the id of an added token, from either file of the tokenizer."""
    tokens: list[Any] = []
    if has_file(folder, "tokenizer_config.json"):
        given = read_json(folder, "tokenizer_config.json", MAX_TOKENIZER_BYTES)
        decoder = given.get("added_tokens_decoder")
        for number, added in (decoder if isinstance(decoder, dict) else {}).items():
            if isinstance(added, dict) and number.isdecimal():
                tokens.append({**added, "id": int(number)})
    if has_file(folder, "tokenizer.json"):
        listed = read_json(folder, "tokenizer.json", MAX_TOKENIZER_BYTES).get("added_tokens")
        tokens += listed if isinstance(listed, list) else []
    for added in tokens:
        if isinstance(added, dict) and added.get("content") == token:
            return int(added["id"])
    raise ConversionError(f"{folder}: the tokenizer has no token {token}, which images need")
