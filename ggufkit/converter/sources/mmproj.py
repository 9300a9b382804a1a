"""The part of a model that sees, as a GGUF file of its own: what llama.cpp calls mmproj.

llama.cpp takes it beside the language model's file. The bytes are those of
``convert_hf_to_gguf.py --mmproj``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggufkit.architectures.vision import find_vision
from ggufkit.architectures.vision.base import NAME, VisionFamily
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.codecs import quantize
from ggufkit.converter.sources.base import QUANTIZATION_VERSION, QUANTIZATION_VERSION_KEY
from ggufkit.converter.sources.row_readers import CheckpointReader
from ggufkit.errors import (
    ConversionError,
    MissingWeightsError,
    OutputError,
    ShapeMismatchError,
)
from ggufkit.gguf.layout import Layout, plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.naming import build_name
from ggufkit.gguf.writer import write
from ggufkit.io.atomic import output_errors
from ggufkit.io.guarded_files import MAX_TOKENIZER_BYTES, has_file, read_json
from ggufkit.mapping.matching import MappedTensor, canonical_name, map_tensors
from ggufkit.mapping.spec import Context, config_errors
from ggufkit.mapping.transforms import n_rows
from ggufkit.types import FileType, TensorType

OUTTYPES = {
    "f32": FileType.F32,
    "f16": FileType.F16,
    "bf16": FileType.BF16,
    "q8_0": FileType.Q8_0,
}
# Where transformers keeps what is done to pictures; the later one counts.
PROCESSORS = (
    ("preprocessor_config.json", "media_proc_cfg"),
    ("processor_config.json", "image_processor"),
)
PATCHES = (".patch_embd.weight", ".patch_merger.weight")


@dataclass(frozen=True)
class MmprojPlan:
    """A vision part's file, laid out.

    Attributes
    ----------
    path : Path
        Where it goes.
    checkpoint : Checkpoint
        Where weights are read.
    tensors : tuple of MappedTensor
        How they come out of it, in the order of the file.
    layout : Layout
        The file's bytes.
    projector : str
        The kind of projector, as llama.cpp calls it.
    """

    path: Path
    checkpoint: Checkpoint
    tensors: tuple[MappedTensor, ...]
    layout: Layout
    projector: str


def plan_mmproj(
    source: str | Path,
    out: str | Path,
    *,
    outtype: str = "f16",
    revision: str | None = None,
    name: str | None = None,
    stream: bool = False,
) -> MmprojPlan:
    """Plan the GGUF file of a checkpoint's vision part. Reads no tensor data.

    Parameters
    ----------
    source, revision, name, stream
        See `ggufkit.converter.ladder.open_source`; a GGUF file is no source.
    out : str or Path
        The file, or a folder, in which it is named ``mmproj-NAME-F16.gguf``.
    outtype : {"f32", "f16", "bf16", "q8_0"}
        Type of the matrices.

    Raises
    ------
    UnknownArchitectureError
        Its vision part can't be converted; the message names those that can.
    CheckpointError, ConversionError
        A file is missing or malformed, or tensors do not fit.
    """
    checkpoint = Checkpoint.open(source, revision=revision, stream=stream)
    family = find_vision(checkpoint.config)
    file_type = OUTTYPES[outtype]
    with config_errors(family.architecture):
        config = family.complete(checkpoint.config, _processor(checkpoint.path))
        if family.marker:
            config["marker"] = _token_number(checkpoint.path, family.marker)
        tensors = _map(checkpoint, family, config)
        keys = family.metadata(config)
        shapes = {tensor.name: _shape(checkpoint, tensor) for tensor in tensors}
    repo_id = checkpoint.repo_id
    general = general_metadata(
        checkpoint.path,
        checkpoint.config,
        shapes=shapes,
        architecture=NAME,
        name=name,
        folder_name=repo_id.rpartition("/")[2] if repo_id else None,
        kind="mmproj",
    )
    general["general.file_type"] = int(file_type)
    general.extend(keys)
    general[QUANTIZATION_VERSION_KEY] = QUANTIZATION_VERSION
    path = Path(out)
    if path.suffix != ".gguf":
        path /= _file_name(general, outtype)
    specs = [(t, shape, _type_of(family, t, shape, outtype)) for t, shape in shapes.items()]
    layout = plan_layout(general, specs)
    return MmprojPlan(path, checkpoint, tensors, layout, str(keys[f"{NAME}.projector_type"]))


def write_mmproj(plan: MmprojPlan, *, force: bool = False) -> Path:
    """Write a planned file, whole or not at all.

    Parameters
    ----------
    plan : MmprojPlan
        From `plan_mmproj`.
    force : bool
        Replace a file that is there.

    Raises
    ------
    OutputError
        The file exists, or can't be written.
    NotFiniteError
        A weight is NaN or infinite.
    """
    if plan.path.exists() and not force:
        raise OutputError(f"{plan.path} exists: replace it with --force, or choose another name")
    with output_errors(plan.path.parent):
        plan.path.parent.mkdir(parents=True, exist_ok=True)
    return write(plan.path, plan.layout, _data(plan))


def _data(plan: MmprojPlan) -> Iterator[Any]:
    """Yield the tensors' bytes, one tensor at a time."""
    for tensor, info in zip(plan.tensors, plan.layout.tensors, strict=True):
        reader = CheckpointReader(_stored(plan.checkpoint, tensor), tensor.transform, info.shape)
        rows = slice(0, n_rows(info.shape) if len(info.shape) > 1 else 1)
        yield quantize(reader.read(rows).reshape(info.shape), info.type)


def _stored(checkpoint: Checkpoint, tensor: MappedTensor) -> tuple[CheckpointTensor, ...]:
    return tuple(checkpoint.tensors[source] for source in tensor.sources)


def _map(
    checkpoint: Checkpoint, family: VisionFamily, config: Mapping[str, Any]
) -> tuple[MappedTensor, ...]:
    architecture = family.architecture
    names = [
        name
        for name in checkpoint.tensors
        if canonical_name(architecture, config, name).startswith(family.prefixes)
    ]
    if not names:
        raise MissingWeightsError(
            f"{checkpoint.path}: has no tensors of a vision part ({', '.join(family.prefixes)}); "
            "is it the language model alone?"
        )
    return tuple(map_tensors(architecture, names, Context(config, n_tokens=0)))


def _shape(checkpoint: Checkpoint, tensor: MappedTensor) -> tuple[int, ...]:
    try:
        return tensor.transform.shape(*(part.shape for part in _stored(checkpoint, tensor)))
    except ShapeMismatchError as error:
        raise ShapeMismatchError(f"{tensor.sources[0]}: {error}") from None


def _type_of(family: VisionFamily, name: str, shape: tuple[int, ...], outtype: str) -> TensorType:
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


def _token_number(folder: Path, token: str) -> int:
    """Return the number of an added token, from either file of the tokenizer."""
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
    raise ConversionError(f"{folder}: the tokenizer has no token {token}, which its pictures need")


def _file_name(metadata: Metadata, outtype: str) -> str:
    def text(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value if isinstance(value, str) else None

    name = build_name(
        text("basename") or text("name") or "model",
        fine_tune=text("finetune"),
        version=text("version"),
        encoding=outtype,
    )
    return f"mmproj-{name}"
