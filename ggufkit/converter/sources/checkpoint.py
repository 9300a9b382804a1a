"""A Hugging Face checkpoint as the source of a ladder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.checkpoint.safetensors import CheckpointTensor
from ggufkit.checkpoint.sentence_transformers import pooling_mode
from ggufkit.converter.sources.base import (
    QUANTIZATION_VERSION,
    QUANTIZATION_VERSION_KEY,
    Floats,
    Reader,
    SourceTensor,
)
from ggufkit.converter.sources.identify import find, match
from ggufkit.converter.sources.row_readers import CheckpointReader, ComputedReader
from ggufkit.errors import ShapeMismatchError
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.matching import MappedTensor
from ggufkit.mapping.row_transforms import is_row_gather
from ggufkit.mapping.spec import (
    Context,
    complete_config,
    config_errors,
    write_first,
    write_hparams,
)
from ggufkit.mapping.transforms import Transform
from ggufkit.tokenizers import SelfTest, tokenizer_metadata
from ggufkit.tokenizers import self_test as check_tokenizer
from ggufkit.types import FileType, TensorType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ggufkit.checkpoint import Checkpoint
    from ggufkit.mapping.spec import Architecture

# Safetensors dtype -> tensor type; anything else is widened to float32.
STORED = {"BF16": TensorType.BF16, "F16": TensorType.F16, "F32": TensorType.F32}

FLOATS = (FileType.F32, FileType.F16, FileType.BF16)

# Matrices that every converter keeps in float32: routing, positions, small convolutions.
ALWAYS_F32 = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_inp_shexp.weight",
    "position_embd.weight",
    "token_types.weight",
    "ssm_conv1d.weight",
    "shortconv.conv.weight",
    "altup_correct_coef.weight",
    "altup_predict_coef.weight",
)


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint, matched with its architecture and tokenizer.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where weights are read.
    architecture : Architecture
        What they are.
    tensors : tuple of SourceTensor
        In the order of llama.cpp's converter: computed ones, then the checkpoint's.
    origin : dict
        Where the weights come from, for provenance.
    self_test : SelfTest or None
        What became of the tokenizer's self-test, if it was wanted.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    config: Mapping[str, Any]
    name: str | None
    tokenizer: Metadata
    tensors: tuple[SourceTensor, ...]
    mapped: Mapping[str, MappedTensor]
    generated: Mapping[str, Floats]
    origin: dict[str, Any]
    self_test: SelfTest | None = None
    is_gguf: ClassVar[bool] = False

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        *,
        pre: str | None = None,
        name: str | None = None,
        self_test: bool = False,
        generic: bool | str = False,
    ) -> CheckpointSource:
        """Match a checkpoint with its architecture and tokenizer.

        Parameters
        ----------
        checkpoint : Checkpoint
            From `ggufkit.checkpoint.Checkpoint.open`.
        pre : str, optional
            ``tokenizer.ggml.pre``, where the tokenizer's structure does not tell it.
        name : str, optional
            ``general.name`` instead of the one from the model card or the folder.
        self_test : bool
            Whether to check that the metadata tokenizes as the checkpoint's tokenizer does.
        generic : bool or str
            Take a table of gguf-py, or the one called so, see `ggufkit.architectures.from_gguf_py`.

        Raises
        ------
        ConversionError
            No architecture covers it, or tensors or the tokenizer do not fit.
        """
        architecture, made = find(checkpoint, list(checkpoint.tensors), generic)
        config, tokenizer = _match(checkpoint, architecture, pre)
        tested = check_tokenizer(checkpoint.path, tokenizer) if self_test else None
        context = Context(config, n_tokens=len(tokenizer["tokenizer.ggml.tokens"]))  # type: ignore[arg-type]
        with config_errors(architecture):
            mapped = match(checkpoint, architecture, context)
            described = [_describe(checkpoint, tensor) for tensor in mapped]
            computed = {g.name: g.compute(config) for g in architecture.generated}
        generated = {name: values for name, values in computed.items() if values is not None}
        return cls(
            checkpoint=checkpoint,
            architecture=architecture,
            config=config,
            name=name,
            tokenizer=tokenizer,
            tensors=(
                *(_computed(name, values) for name, values in generated.items()),
                # the converter writes what it repacks before what it converts
                *sorted(described, key=lambda tensor: not tensor.stored.is_quantized),
            ),
            mapped={tensor.name: tensor for tensor in mapped},
            generated=generated,
            self_test=tested,
            origin={
                "kind": "checkpoint",
                "name": checkpoint.repo_id or checkpoint.path.name,
                "revision": checkpoint.revision,
                "identity": checkpoint.identity,
                **(
                    {"quantized": _quantized(checkpoint, described)} if checkpoint.quantized else {}
                ),
                **made,
            },
        )

    @classmethod
    def open_vocabulary(
        cls,
        checkpoint: Checkpoint,
        *,
        pre: str | None = None,
        name: str | None = None,
        self_test: bool = False,
        generic: bool | str = False,
    ) -> CheckpointSource:
        """Match a checkpoint with its architecture and tokenizer, and none of its tensors.

        Parameters and errors are those of `open`; weights need not exist.
        """
        architecture, _ = find(checkpoint, [], generic)
        config, tokenizer = _match(checkpoint, architecture, pre)
        tested = check_tokenizer(checkpoint.path, tokenizer) if self_test else None
        origin = {"kind": "checkpoint", "name": checkpoint.repo_id or checkpoint.path.name}
        return cls(checkpoint, architecture, config, name, tokenizer, (), {}, {}, origin, tested)

    @property
    def n_remote(self) -> int:
        """Bytes of weights that are read over the network, at most."""
        return self.checkpoint.n_remote

    @property
    def cached_bytes(self) -> int:
        """Bytes of these that are kept in memory, at most."""
        return min(self.checkpoint.cache_bytes, self.n_remote)

    def metadata(self, file_type: FileType) -> Metadata:
        """Return the metadata that llama.cpp's converter writes for `file_type`.

        Raises
        ------
        ConversionError
            config.json lacks something, or has a value that can't be.
        """
        repo_id = self.checkpoint.repo_id
        if file_type in FLOATS and any(t.stored is TensorType.MXFP4 for t in self.tensors):
            file_type = FileType.MXFP4_MOE  # what the converter says of such files
        with config_errors(self.architecture):
            # the converter writes these as it computes tensors
            first = write_first(self.architecture, self.config) if self.tensors else Metadata()
            hparams = write_hparams(self.architecture, self.config, file_type)
        # keys keep the place where they come first
        metadata = Metadata({"general.architecture": self.architecture.name})
        metadata.extend(first)
        general = general_metadata(
            self.checkpoint.path,
            self.config,
            shapes={tensor.name: tensor.shape for tensor in self.tensors},
            architecture=self.architecture.name,
            name=self.name,
            folder_name=repo_id.rpartition("/")[2] if repo_id else None,
        )
        metadata.extend(general)
        metadata.extend(hparams)
        metadata[QUANTIZATION_VERSION_KEY] = QUANTIZATION_VERSION
        metadata.extend(self.tokenizer)
        return metadata

    def reader(self, tensor: SourceTensor) -> Reader:
        """Return what reads a tensor's rows, after its transform."""
        if tensor.name in self.generated:
            return ComputedReader(self.generated[tensor.name].reshape(-1, tensor.n_cols))
        mapped = self.mapped[tensor.name]
        stored = tuple(self.checkpoint.tensors[source] for source in mapped.sources)
        return CheckpointReader(stored, mapped.transform, tensor.shape, tensor.blocks is not None)


def _match(
    checkpoint: Checkpoint, architecture: Architecture, pre: str | None
) -> tuple[dict[str, Any], Metadata]:
    """Return the checkpoint's config as the architecture reads it, and its tokenizer."""
    with config_errors(architecture):
        config = complete_config(architecture, checkpoint.config)
    config.setdefault("pooling_mode", pooling_mode(checkpoint.path))
    tokenizer = tokenizer_metadata(
        checkpoint.path, kind=architecture.tokenizer, config=config, pre=pre
    )
    return config, tokenizer


def _computed(name: str, values: Floats) -> SourceTensor:
    return SourceTensor(name, values.shape, TensorType.F32, TensorType.F32)


def _describe(checkpoint: Checkpoint, mapped: MappedTensor) -> SourceTensor:
    stored = [checkpoint.tensors[source] for source in mapped.sources]
    try:
        shape = mapped.transform.shape(*(tensor.shape for tensor in stored))
    except ShapeMismatchError as error:
        raise ShapeMismatchError(f"{mapped.sources[0]}: {error}") from None
    fixed = (
        len(shape) < 2 or mapped.name.endswith(ALWAYS_F32) or not mapped.name.endswith(".weight")
    )
    dtypes = {tensor.dtype for tensor in stored}
    blocks = None if fixed else _blocks(stored, mapped.transform, shape)
    if blocks is not None and all(
        tensor.packing.keeps_blocks for tensor in stored if tensor.packing
    ):
        return SourceTensor(mapped.name, shape, blocks, None, blocks)
    exact = STORED.get(dtypes.pop(), TensorType.F32) if len(dtypes) == 1 else TensorType.F32
    return SourceTensor(mapped.name, shape, exact, TensorType.F32 if fixed else None, blocks)


def _blocks(
    stored: list[CheckpointTensor], transform: Transform, shape: tuple[int, ...]
) -> TensorType | None:
    """Return the type whose blocks the parts of a tensor are, if all are."""
    types = {None if tensor.packing is None else tensor.packing.lossless_type for tensor in stored}
    found = types.pop() if len(types) == 1 else None
    if found is None or not is_row_gather(transform) or shape[-1] % found.block_size:
        return None
    return found


def _quantized(checkpoint: Checkpoint, described: Sequence[SourceTensor]) -> str:
    """Say how weights are quantized, and which types keep them as they are."""
    counts = Counter(tensor.blocks.name for tensor in described if tensor.blocks)
    kept = [f"{name} keeps {n} tensors as they are" for name, n in sorted(counts.items())]
    return "; ".join([checkpoint.quantized, *kept])
