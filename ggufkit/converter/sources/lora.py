"""A LoRA adapter as a GGUF file, which llama.cpp adds to a model when it loads that.

The bytes are those of llama.cpp's convert_lora_to_gguf.py, but for adapters whose strength it
gets wrong: the file has one alpha, and each weight's scale is alpha / rank. Where PEFT's scales
are others (use_rslora, alpha_pattern) alpha is chosen, or else B multiplied, so that they are
the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ggufkit.architectures.registry import find_architecture
from ggufkit.arrays import Floats
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.checkpoint.safetensors import Shard
from ggufkit.checkpoint.shards import identity_of
from ggufkit.converter.lora.adapter import Adapter, LowRank
from ggufkit.converter.sources.base import QUANTIZATION, Reader, Source, SourceTensor, file_name
from ggufkit.converter.sources.row_readers import CheckpointReader
from ggufkit.errors import ConversionError, UnmappedTensorsError
from ggufkit.gguf.metadata import Metadata
from ggufkit.io.guarded_files import has_file, read_json
from ggufkit.mapping.matching import MappedTensor, map_tensors
from ggufkit.mapping.spec import Context, complete_config, config_errors, is_tied
from ggufkit.mapping.transforms import Factors, Identity, Transform
from ggufkit.types import FileType, OutType, TensorType

if TYPE_CHECKING:
    from ggufkit.mapping.spec import Architecture

ALPHA_KEY = "adapter.lora.alpha"
TOKENS_KEY = "adapter.alora.invocation_tokens"
EMBEDDING = "token_embd.weight"


@dataclass(frozen=True, kw_only=True)
class LoraSource(Source):
    """A LoRA adapter, matched with the architecture of its base model.

    Attributes
    ----------
    adapter : Adapter
        Where weights are read.
    architecture : str
        Of the base model.
    alpha : float
        What the file says.
    factors : mapping of str to float
        By the checkpoint's name, what B is multiplied with; empty if the alpha says it all.
    readers : mapping of str to Reader
        By tensor name.
    """

    adapter: Adapter
    architecture: str
    alpha: float
    factors: Mapping[str, float]
    readers: Mapping[str, Reader]

    @classmethod
    def open(
        cls, adapter: str | Path, *, base: str | Path | None = None, outtype: OutType = "f32"
    ) -> LoraSource:
        """Match an adapter with its base model. Reads no weights.

        Parameters
        ----------
        adapter : str or Path
            A folder with adapter_config.json and adapter_model.safetensors or .bin, or
            ``owner/name`` on the Hub.
        base : str or Path, optional
            The base model: a folder with its config.json, that file, or ``owner/name`` on the
            Hub; by default what adapter_config.json names. Its weights are not needed.
        outtype : {"f32", "f16", "bf16", "q8_0"}
            Type of the matrices; rows that Q8_0 can't divide are F16.

        Raises
        ------
        CheckpointError
            A file is missing or malformed.
        ConversionError
            It is no plain LoRA, or not one of this base model.
        """
        opened = Adapter.open(adapter)
        given = _base_config(base or _named_base(opened))
        architecture = find_architecture(given)
        alpha, factors = _alpha(opened)
        with config_errors(architecture):
            mapped = _map(opened, architecture, complete_config(architecture, given))
            readers = {
                name: reader
                for tensor in mapped
                for name, reader in _readers_of(opened, tensor, factors)
            }
        shapes = {name: reader.shape for name, reader in readers.items()}
        decides = json.dumps([given, opened.scales], sort_keys=True, default=str)
        return cls(
            tensors=tuple(_describe(name, shape, outtype) for name, shape in shapes.items()),
            adapter=opened,
            architecture=architecture.name,
            alpha=alpha,
            factors=factors,
            file_types=(FileType[outtype.upper()],),
            origin={
                "kind": "lora",
                "name": opened.name,
                "revision": None,
                "identity": identity_of(opened.shards, decides),
            },
            base_metadata=_metadata(opened, architecture.name, alpha, shapes),
            readers=readers,
        )

    def file_name(self, encoding: str) -> str:
        """Return the name that the converter gives the file."""
        return file_name(self.base_metadata, encoding, unnamed="adapter", kind="LoRA")

    @property
    def shards(self) -> Sequence[Shard]:
        """The files that weights are read from."""
        return self.adapter.shards

    def reader(self, tensor: SourceTensor) -> Reader:
        """Return what reads a tensor's rows."""
        return self.readers[tensor.name]


@dataclass(frozen=True)
class FactorReader:
    """Rows of one of the two matrices that are added to a weight.

    Attributes
    ----------
    pairs : tuple of LowRank
        The matrices in the checkpoint, of each source of the weight.
    factors : tuple of float or None
        What B of each is multiplied with.
    transform : Transform
        Of the weight.
    is_b : bool
        Whether it is ``lora_b``; else ``lora_a``.
    transposed : bool
        Whether the two are stored transposed, and so change places.
    shape : tuple of int
        Of the matrix.
    """

    pairs: tuple[LowRank, ...]
    factors: tuple[float | None, ...]
    transform: Transform
    is_b: bool
    transposed: bool
    shape: tuple[int, ...] = ()

    def read(self, rows: slice) -> Floats:
        """Return rows, counted over all leading dimensions."""
        scaled = [_scaled(*pair) for pair in zip(self.pairs, self.factors, strict=True)]
        return self.chosen(scaled).reshape(-1, self.shape[-1])[rows]

    def read_blocks(self, rows: slice) -> None:
        """Return None: nothing is stored in blocks."""

    def chosen(self, parts: list[Factors]) -> Floats:
        """Return this one of the two matrices, made of those of the checkpoint."""
        rows, cols = self.transform.on_lora(parts)
        if self.transposed:
            return np.ascontiguousarray(cols.T if self.is_b else rows)
        return np.ascontiguousarray(rows if self.is_b else cols)


def _readers_of(
    adapter: Adapter, tensor: MappedTensor, factors: Mapping[str, float]
) -> Iterator[tuple[str, CheckpointReader | FactorReader]]:
    """Yield what becomes of a weight's part of an adapter: one tensor, or two, by name."""
    if tensor.sources[0] in adapter.norms:
        stored = adapter.norms[tensor.sources[0]]
        yield tensor.name, CheckpointReader((stored,), Identity(), stored.shape)
        return
    pairs = tuple(adapter.pairs[name] for name in tensor.sources)
    multiplied = tuple(factors.get(name) for name in tensor.sources)
    blank = [
        (
            np.zeros((pair.shape[0], pair.rank), np.float32),
            np.zeros((pair.rank, pair.shape[1]), np.float32),
        )
        for pair in pairs
    ]
    # token embeddings are looked up by row, in a that is stored transposed
    transposed = tensor.name == EMBEDDING
    for part in "ab":
        reader = FactorReader(pairs, multiplied, tensor.transform, part == "b", transposed)
        try:
            shape = reader.chosen(blank).shape
        except ConversionError as error:
            raise ConversionError(f"{adapter.path}: {tensor.sources[0]}: {error}") from None
        yield f"{tensor.name}.lora_{part}", replace(reader, shape=shape)


def _describe(name: str, shape: tuple[int, ...], outtype: OutType) -> SourceTensor:
    wanted = TensorType[outtype.upper()]
    if len(shape) < 2:
        wanted = TensorType.F32
    elif shape[-1] % wanted.block_size:
        wanted = TensorType.F16
    return SourceTensor(name, shape, TensorType.F32, wanted)


def _named_base(adapter: Adapter) -> str:
    if not adapter.settings.base:
        raise ConversionError(
            f"{adapter.path}: adapter_config.json names no base model: give its folder, or its "
            "config.json, with --base"
        )
    return adapter.settings.base


def _base_config(base: str | Path) -> Mapping[str, Any]:
    path = Path(base)
    if path.suffix == ".json":
        return read_json(path.parent, path.name)
    if path.is_dir():
        return read_json(path, "config.json")
    return Checkpoint.open(str(base), weights=False).config


def _map(
    adapter: Adapter, architecture: Architecture, config: Mapping[str, Any]
) -> tuple[MappedTensor, ...]:
    if is_tied(architecture, config) and "lm_head.weight" in adapter.pairs:
        raise ConversionError(
            f"{adapter.path}: adapts lm_head, which this model does not have: its output weights "
            "are the token embeddings. Merge it with PEFT, and convert the result"
        )
    n_tokens = config.get("vocab_size")
    context = Context(config, n_tokens=n_tokens if isinstance(n_tokens, int) else 0)
    names = [*adapter.norms, *adapter.pairs]
    mapped = map_tensors(architecture, names, context, partial=True)
    used = {source for tensor in mapped for source in tensor.sources}
    lost = [name for name in adapter.pairs if name not in used]
    if lost:
        raise UnmappedTensorsError(
            f"{adapter.path}: {architecture.name} has no place for {', '.join(lost[:8])}"
        )
    return tuple(mapped)


def _alpha(adapter: Adapter) -> tuple[float, dict[str, float]]:
    """Return the file's alpha, and the factor by which B has to be multiplied."""
    alpha = adapter.settings.alpha
    wanted = {name: pair.scale * pair.rank for name, pair in adapter.pairs.items()}
    found = {float(np.float32(value)) for value in wanted.values()}
    if len(found) == 1:
        return found.pop(), {}
    return alpha, {name: value / alpha for name, value in wanted.items() if value != alpha}


def _scaled(pair: LowRank, factor: float | None) -> Factors:
    rows, cols = pair.factors()
    if factor is None:
        return rows, cols
    # of B, whichever side of the product that is
    if pair.transposed:
        return rows, cols * np.float32(factor)
    return rows * np.float32(factor), cols


def _metadata(
    adapter: Adapter, architecture: str, alpha: float, shapes: Mapping[str, tuple[int, ...]]
) -> Metadata:
    config = read_json(adapter.path, "config.json") if has_file(adapter.path, "config.json") else {}
    general = general_metadata(
        adapter.path,
        config,
        shapes=_covered(shapes),
        architecture=architecture,
        folder_name=adapter.name,
        kind="adapter",
    )
    metadata = Metadata({"general.architecture": architecture, "general.type": "adapter"})
    metadata["adapter.type"] = "lora"
    metadata.extend(general)
    metadata[ALPHA_KEY] = alpha
    if adapter.settings.invocation_tokens:
        metadata[TOKENS_KEY] = list(adapter.settings.invocation_tokens)
    metadata.update(QUANTIZATION)
    return metadata


def _covered(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights that are adapted, as gguf-py counts them."""
    covered = {}
    for name, shape in shapes.items():
        if name.endswith(".lora_b"):
            covered[name] = (*shape[:-1], shapes[f"{name[:-1]}a"][-1])
        elif not name.endswith(".lora_a"):
            covered[name] = shape
    return covered
