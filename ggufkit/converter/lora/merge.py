"""Adapters merged into a checkpoint: tensors whose rows are added up when they are read.

Nothing is computed ahead and nothing is kept: for the rows that a task reads, it reads the same
rows of B and all of A. The sum W + scale * B @ A is computed in float64 and rounded once to
float32, whatever the base is stored as: a quantized base is widened first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ggufkit.architectures.registry import find_architecture
from ggufkit.architectures.third_party import ArchitectureFile
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.quantized.base import QuantizedWeight
from ggufkit.checkpoint.safetensors import CheckpointTensor, read_float32
from ggufkit.converter.lora.adapter import MOST_NAMED, Adapter, LowRank
from ggufkit.errors import ConversionError, UnmappedTensorsError, named
from ggufkit.mapping.matching import canonical_name
from ggufkit.mapping.spec import complete_config


@dataclass(frozen=True)
class Merge:
    """An adapter to merge, and how much of it.

    Attributes
    ----------
    adapter : Adapter
        From `Adapter.open`.
    scale : float
        What its own scale is multiplied with.
    """

    adapter: Adapter
    scale: float = 1.0

    @property
    def origin(self) -> dict[str, str | float]:
        """What provenance says of it."""
        return {"name": self.adapter.name, "scale": self.scale}


@dataclass(frozen=True)
class Sum(QuantizedWeight):
    """A weight and the product that is added to it."""

    base: CheckpointTensor
    pair: LowRank
    scale: float

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows of the sum."""
        base = read_float32(self.base, slice(start, stop)).astype(np.float64)
        rows, cols = self.pair.factors(slice(start, stop))
        base += self.scale * (rows.astype(np.float64) @ cols.astype(np.float64))
        return base.astype(np.float32)


def parse_merge(text: str) -> Merge:
    """Return what ``ADAPTER`` or ``ADAPTER=SCALE`` asks for.

    Raises
    ------
    CheckpointError, ConversionError
        There is no such adapter, it can't be merged, or the scale is no number.
    """
    path, equals, scale = text.rpartition("=")
    if not equals or Path(text).exists():
        return Merge(Adapter.open(text))
    try:
        factor = float(scale)
    except ValueError:
        factor = float("nan")
    if not np.isfinite(factor):
        raise ConversionError(f"--merge-lora {text}: {scale!r} is no scale, such as 0.5")
    return Merge(Adapter.open(path), factor)


def merged(
    checkpoint: Checkpoint, merges: Sequence[Merge], given: ArchitectureFile | None = None
) -> Checkpoint:
    """Return a checkpoint with adapters merged into it, one after the other.

    Parameters
    ----------
    checkpoint : Checkpoint
        The base model.
    merges : sequence of Merge
        What is added.
    given : ArchitectureFile, optional
        The file that has the checkpoint's architecture, instead of all others.

    Raises
    ------
    UnmappedTensorsError
        An adapter adapts weights that the checkpoint does not have.
    ConversionError
        An adapter is of another shape, or is to be switched on by tokens.
    """
    others = given.architectures if given else ()
    architecture = find_architecture(checkpoint.config, given=others)
    config = complete_config(architecture, checkpoint.config)

    def canonical(name: str) -> str:
        return canonical_name(architecture, config, name)

    tensors = dict(checkpoint.tensors)
    places = {canonical(name): name for name in tensors}
    for merge in merges:
        _refuse(merge.adapter)
        pairs = {
            places.get(canonical(name), ""): pair for name, pair in merge.adapter.pairs.items()
        }
        lost = [name for name in merge.adapter.pairs if canonical(name) not in places]
        if lost:
            raise UnmappedTensorsError(
                f"{merge.adapter.path}: adapts {len(lost)} weights that {checkpoint.path.name} "
                f"does not have: {named(lost, MOST_NAMED)}. Is it an adapter of this model?"
            )
        tensors.update(_added(tensors, pairs, merge))
    added = [shard for merge in merges for shard in merge.adapter.shards]
    shards = tuple(dict.fromkeys((*checkpoint.shards, *added)))
    changes = [(merge.adapter.scales, merge.scale) for merge in merges]
    return replace(checkpoint, _tensors=tensors, shards=shards, changes=repr(changes))


def _refuse(adapter: Adapter) -> None:
    if adapter.norms:
        raise UnmappedTensorsError(
            f"{adapter.path}: has whole tensors in addition to its pairs, which can't be merged: "
            f"{named([*adapter.norms], MOST_NAMED)}"
        )
    if adapter.settings.invocation_tokens:
        raise ConversionError(
            f"{adapter.path}: an activated LoRA works after certain tokens only; merged it would "
            "work always. 'ggufkit lora ADAPTER --base BASE' converts it: give both files to "
            "llama.cpp"
        )


def _added(
    tensors: Mapping[str, CheckpointTensor], pairs: Mapping[str, LowRank], merge: Merge
) -> dict[str, CheckpointTensor]:
    result = {}
    for name, pair in pairs.items():
        # PEFT, too, prefers the copy that it saved with the adapter
        base = merge.adapter.bases.get(pair.name, tensors[name])
        if base.shape != pair.shape:
            raise ConversionError(
                f"{merge.adapter.path}: {pair.name} is for a weight of shape {pair.shape}, "
                f"the checkpoint's has {base.shape}. Is it an adapter of this model?"
            )
        scale = pair.scale * merge.scale
        result[name] = replace(base, dtype="F32", strides=None, packing=Sum(base, pair, scale))
    return result
