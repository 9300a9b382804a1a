"""A Hugging Face checkpoint as the source of a ladder."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ggufkit.architectures.config_effects import config_notes, refuse_other_function
from ggufkit.architectures.from_gguf_py import generic_architecture
from ggufkit.architectures.left_out import grouped
from ggufkit.architectures.registry import architectures, find_architecture
from ggufkit.architectures.suggest import with_closest
from ggufkit.arrays import Floats
from ggufkit.checkpoint.model_card import general_metadata, read_generation_config
from ggufkit.checkpoint.safetensors import CheckpointTensor, Shard
from ggufkit.checkpoint.sentence_transformers import other_modules, pooling_mode
from ggufkit.converter.sources.base import FILE_TYPE_KEY, QUANTIZATION, Reader, Source, SourceTensor
from ggufkit.converter.sources.row_readers import (
    ComputedReader,
    reader_of,
    shape_of,
    source_type_of,
)
from ggufkit.converter.sources.tied_output import OutputWeights, lost_copies, output_weights
from ggufkit.errors import ConversionError, TensorNamesError, UnknownArchitectureError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.guarded_files import has_file
from ggufkit.mapping.matching import MappedTensor, generalize, map_tensors
from ggufkit.mapping.spec import (
    Context,
    complete_config,
    compute_tensors,
    config_errors,
    write_hparams,
    write_leading_hparams,
)
from ggufkit.mapping.transforms import Change, Transform
from ggufkit.tokenizers import SelfTest, tokenizer_metadata
from ggufkit.tokenizers import self_test as check_tokenizer
from ggufkit.types import FileType, TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ggufkit.architectures.third_party import ArchitectureFile
    from ggufkit.checkpoint import Checkpoint
    from ggufkit.mapping.spec import Architecture

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
class IdentifiedModel:
    """What a checkpoint's config and tokenizer say, before its tensors are looked at.

    Attributes
    ----------
    architecture : Architecture
        What its weights are.
    config : mapping
        Its config, as the architecture reads it.
    tokenizer : Metadata
        The ``tokenizer.*`` keys.
    provenance : dict
        What the origin says of an architecture that is not the package's own; else empty.
    notes : tuple of str
        What a reader of the summary should know of the tokenizer.
    """

    architecture: Architecture
    config: Mapping[str, Any]
    tokenizer: Metadata
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        names: Sequence[str] = (),
        pre: str | None = None,
        generic: bool | str = False,
        given: ArchitectureFile | None = None,
    ) -> IdentifiedModel:
        """Find a checkpoint's architecture and convert its tokenizer.

        `names` are its tensors, which may tell architectures apart; the others are those of
        `CheckpointSource.open`.
        """
        architecture, made = _find_architecture(checkpoint, names, generic, given)
        with config_errors(architecture):
            config = complete_config(architecture, checkpoint.config)
        refuse_other_function(architecture.name, config)
        config.setdefault("pooling_mode", pooling_mode(checkpoint.path))
        generation = read_generation_config(checkpoint.path)
        config["suppress_tokens"] = generation.get("suppress_tokens")
        notes: list[str] = []
        tokenizer = tokenizer_metadata(
            checkpoint.path,
            kind=architecture.tokenizer,
            config=config,
            pre=pre,
            architecture=architecture.name,
            notes=notes,
        )
        return cls(architecture, config, tokenizer, made, tuple(notes))

    def metadata(
        self, checkpoint: Checkpoint, tensors: Sequence[SourceTensor], name: str | None
    ) -> Metadata:
        """Return all metadata of the converter's own file, its type being F32."""
        with config_errors(self.architecture):
            # the converter writes these as it computes tensors
            first = write_leading_hparams(self.architecture, self.config) if tensors else Metadata()
            hparams = write_hparams(self.architecture, self.config, FileType.F32)
        # keys keep the place where they come first
        metadata = Metadata({"general.architecture": self.architecture.name})
        metadata.extend(first)
        general = general_metadata(
            checkpoint.path,
            self.config,
            shapes={tensor.name: tensor.shape for tensor in tensors},
            architecture=self.architecture.name,
            name=name,
            folder_name=checkpoint.folder_name,
        )
        metadata.extend(general)
        metadata.extend(hparams)
        metadata.update(QUANTIZATION)
        metadata.extend(self.tokenizer)
        return metadata


@dataclass(frozen=True, kw_only=True)
class CheckpointSource(Source):
    """A checkpoint, matched with its architecture and tokenizer.

    Attributes
    ----------
    checkpoint : Checkpoint
        Where weights are read.
    architecture : Architecture
        What they are.
    config : mapping
        Its config, as the architecture reads it.
    mapped : mapping of str to MappedTensor
        How the checkpoint's come about, by their name in the GGUF file.
    computed : mapping of str to ndarray
        The values of the others.
    self_test : SelfTest or None
        What became of the tokenizer's self-test, if it was wanted.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    config: Mapping[str, Any]
    mapped: Mapping[str, MappedTensor]
    computed: Mapping[str, Floats]
    self_test: SelfTest | None

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        *,
        pre: str | None = None,
        name: str | None = None,
        self_test: bool = False,
        generic: bool | str = False,
        given: ArchitectureFile | None = None,
        merged: Sequence[Mapping[str, Any]] = (),
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
        given : ArchitectureFile, optional
            The file that has its architecture, instead of all others.
        merged : sequence of mapping
            The adapters that the checkpoint's weights contain, for `origin`.

        Raises
        ------
        ConversionError
            No architecture covers it, or tensors or the tokenizer do not fit.
        """
        model = IdentifiedModel.of(
            checkpoint, names=list(checkpoint.tensors), pre=pre, generic=generic, given=given
        )
        tested = check_tokenizer(checkpoint.path, model.tokenizer) if self_test else None
        n_tokens = len(model.tokenizer["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
        with config_errors(model.architecture):
            output = output_weights(checkpoint, model.architecture, model.config)
            names = [name for name in checkpoint.tensors if name != output.copy]
            context = Context(model.config, n_tokens=n_tokens)
            mapped = _map(checkpoint, model.architecture, context, names)
            described = [_describe(checkpoint, tensor) for tensor in mapped]
            values = compute_tensors(model.architecture, model.config)
        # the converter writes what it repacks before what it converts
        described.sort(key=lambda tensor: not tensor.source_type.is_quantized)
        tensors = tuple(_with_computed(model.architecture, described, values))
        origin = checkpoint_origin(checkpoint, given)
        if checkpoint.quantized:
            origin["quantized"] = _quantized(checkpoint, described)
        origin |= model.provenance
        origin |= tokenizer_origin(model, tested)
        metadata = model.metadata(checkpoint, tensors, name)
        with config_errors(model.architecture):
            notes = config_notes(model.config, metadata, {tensor.name for tensor in tensors})
        origin |= _remarks(checkpoint, mapped, output, [*model.notes, *notes])
        if merged:
            origin["merged"] = list(merged)
        return cls(
            checkpoint=checkpoint,
            architecture=model.architecture,
            config=model.config,
            tensors=tensors,
            mapped={tensor.name: tensor for tensor in mapped},
            computed=values,
            origin=origin,
            self_test=tested,
            base_metadata=metadata,
            n_remote=checkpoint.n_remote,
            cached_bytes=min(checkpoint.cache_bytes, checkpoint.n_remote),
        )

    @property
    def shards(self) -> Iterable[Shard]:
        """The files that weights are read from."""
        return self.checkpoint.shards

    @property
    def config_keys(self) -> Mapping[str, str]:
        """The keys of config.json that hparams are taken from, by hparam."""
        found: dict[str, str] = {}
        for hparam in self.architecture.hparams:
            if isinstance(hparam, str) or callable(hparam.source):
                continue
            names = (hparam.source,) if isinstance(hparam.source, str) else hparam.source
            found |= next(({hparam.key: name} for name in names if name in self.config), {})
        return found

    def metadata(self, file_type: FileType) -> Metadata:
        """Return the metadata that llama.cpp's converter writes for `file_type`."""
        if FILE_TYPE_KEY not in self.base_metadata:  # MPT's and GPT-NeoX's files have none
            return self.base_metadata.copy()
        if file_type in FLOATS and any(t.source_type is TensorType.MXFP4 for t in self.tensors):
            file_type = FileType.MXFP4_MOE  # what the converter says of such files
        return super().metadata(file_type)

    def reader(self, tensor: SourceTensor) -> Reader:
        """Return what reads a tensor's rows, after its transform."""
        if tensor.name in self.computed:
            return ComputedReader(self.computed[tensor.name].reshape(-1, tensor.n_cols))
        in_blocks = tensor.lossless_type is not None
        return reader_of(self.checkpoint, self.mapped[tensor.name], tensor.shape, in_blocks)


def checkpoint_origin(
    checkpoint: Checkpoint, given: ArchitectureFile | None = None
) -> dict[str, Any]:
    """Return where a checkpoint's weights come from, for provenance."""
    # another file makes other weights of them
    read_by = f"\0{given.sha256}" if given else ""
    return {
        "kind": "checkpoint",
        "name": checkpoint.repo_id or checkpoint.path.name,
        "revision": checkpoint.revision,
        "identity": f"{checkpoint.identity}{read_by}",
    }


def tokenizer_origin(model: IdentifiedModel, tested: SelfTest | None) -> dict[str, Any]:
    """Return what the origin says of a tokenizer: how it was tested, and what is doubtful."""
    said: dict[str, Any] = {"self_test": str(tested or SelfTest(why="it was not asked for"))}
    if model.notes:
        said["notes"] = list(model.notes)
    return said


def _find_architecture(
    checkpoint: Checkpoint,
    names: Sequence[str],
    generic: bool | str,
    given: ArchitectureFile | None,
) -> tuple[Architecture, dict[str, Any]]:
    """Return a checkpoint's architecture and, where it is no own one, what its origin says."""
    if given:
        if generic:
            raise ConversionError("--architecture and --generic can't be used together")
        found = find_architecture(checkpoint.config, given=given.architectures)
        return found, {"architecture": given.origin}
    if not generic:
        return find_architecture(checkpoint.config, names), {}
    try:
        known = find_architecture(checkpoint.config)
    except UnknownArchitectureError:
        requested = None if generic is True else generic
        made = generic_architecture(checkpoint.config, names, requested, known=architectures())
        return made.architecture, {"generic": made.as_dict()}
    raise ConversionError(
        f"ggufkit has an architecture file for this class, that of {known.hf_classes[0]}: "
        "leave out --generic"
    )


def _map(
    checkpoint: Checkpoint, architecture: Architecture, context: Context, names: Sequence[str]
) -> list[MappedTensor]:
    """Match tensors with weights; an error names the architecture that fits better, if one does."""
    try:
        return map_tensors(architecture, names, context)
    except TensorNamesError as error:
        raise with_closest(error, architecture, architectures(), names, checkpoint.config) from None


def _remarks(
    checkpoint: Checkpoint,
    mapped: Sequence[MappedTensor],
    output: OutputWeights,
    notes: list[str],
) -> dict[str, Any]:
    """Return what the origin says of tensors that are left out, and of what is doubtful."""
    used = {source for tensor in mapped for source in tensor.sources}
    rest = [name for name in checkpoint.tensors if name not in used]
    left_out = [*grouped(rest, checkpoint.config)]
    if output.note:
        notes.append(output.note)
    if has_file(checkpoint.path, "adapter_config.json"):
        notes.append(
            "an adapter (adapter_config.json) lies next to the weights: it is not merged in, "
            "unless its folder is given with --merge-lora"
        )
    if modules := other_modules(checkpoint.path):
        notes.append(
            f"the modules {', '.join(modules)[:200]} of sentence-transformers are left out: the "
            "embeddings are those before them"
        )
    given = checkpoint.config.get("quantization_config")
    if isinstance(given, dict) and not checkpoint.quantized:
        notes.append(
            f"config.json says that the weights are quantized "
            f"({str(given.get('quant_method'))[:40]}), but none is: they are taken as they are"
        )
    notes += lost_copies(checkpoint, mapped, rest)
    return {
        **({"left_out": left_out} if left_out else {}),
        **({"notes": notes} if notes else {}),
    }


def _with_computed(
    architecture: Architecture, described: Iterable[SourceTensor], values: Mapping[str, Floats]
) -> Iterator[SourceTensor]:
    """Yield all tensors, the computed ones in their places."""
    places = {tensor.name: tensor.before for tensor in architecture.computed}
    computed: dict[str, list[SourceTensor]] = defaultdict(list)
    for name, array in values.items():
        full, block, _ = generalize(name)
        made = SourceTensor(name, array.shape, TensorType.F32, TensorType.F32)
        computed[places[full].replace("{i}", block)].append(made)
    yield from computed[""]
    for tensor in described:
        yield from computed.get(tensor.name, ())
        yield tensor


def _describe(checkpoint: Checkpoint, mapped: MappedTensor) -> SourceTensor:
    stored = [checkpoint.tensors[source] for source in mapped.sources]
    shape = shape_of(checkpoint, mapped)
    fixed = (
        len(shape) < 2 or mapped.name.endswith(ALWAYS_F32) or not mapped.name.endswith(".weight")
    )
    blocks = None if fixed else _blocks(stored, mapped.transform, shape)
    if blocks is not None and all(
        tensor.packing.keeps_blocks for tensor in stored if tensor.packing
    ):
        return SourceTensor(mapped.name, shape, blocks, None, blocks)
    source_type = source_type_of(checkpoint, mapped)
    return SourceTensor(mapped.name, shape, source_type, TensorType.F32 if fixed else None, blocks)


def _blocks(
    stored: list[CheckpointTensor], transform: Transform, shape: tuple[int, ...]
) -> TensorType | None:
    """Return the type whose blocks the parts of a tensor are, if all are."""
    types = {None if tensor.packing is None else tensor.packing.lossless_type for tensor in stored}
    found = types.pop() if len(types) == 1 else None
    if found is None or transform.change > Change.ROWS or shape[-1] % found.block_size:
        return None
    return found


def _quantized(checkpoint: Checkpoint, described: Sequence[SourceTensor]) -> str:
    """Say how weights are quantized, and which types keep them as they are."""
    counts = Counter(tensor.lossless_type.name for tensor in described if tensor.lossless_type)
    kept = [f"{name} keeps {n} tensors as they are" for name, n in sorted(counts.items())]
    return "; ".join([checkpoint.quantized, *kept])
