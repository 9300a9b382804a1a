"""Output weights and embeddings of a checkpoint that may be the same: their content decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ggufkit.checkpoint.safetensors import CheckpointTensor, read_float32
from ggufkit.errors import ConversionError
from ggufkit.mapping.matching import canonical_name
from ggufkit.mapping.spec import is_tied

if TYPE_CHECKING:
    from ggufkit.checkpoint import Checkpoint
    from ggufkit.mapping.matching import MappedTensor
    from ggufkit.mapping.spec import Architecture

HEAD = "lm_head.weight"
_ONE = "llama.cpp has a place for one of them"
_BY_FLAG = "config.json says that the two are tied"
CHUNK_WEIGHTS = 1 << 24  # of each of the two


@dataclass(frozen=True)
class OutputWeights:
    """What a checkpoint and its config say of the output weights.

    Attributes
    ----------
    copy : str
        The checkpoint's tensor that is only a copy of the embeddings, and is left out.
    note : str
        What a reader of the summary should know; mostly nothing.
    """

    copy: str = ""
    note: str = ""


def output_weights(
    checkpoint: Checkpoint, architecture: Architecture, config: Mapping[str, Any]
) -> OutputWeights:
    """Decide whether a checkpoint's output weights are its embeddings.

    Like transformers 5, this follows the content rather than ``tie_word_embeddings`` where a
    checkpoint has both. They are read only if the answer makes a difference.

    Raises
    ------
    ConversionError
        They differ, and llama.cpp has no place for an output of its own.
    """
    places = {canonical_name(architecture, config, name): name for name in checkpoint.tensors}
    sources = {weight.name: f"{weight.source}.weight" for weight in architecture.weights}
    head = places.get(sources.get("output", HEAD))
    embeddings = places.get(sources.get("token_embd", ""))
    if embeddings is None:
        return OutputWeights()
    if head is None:
        return OutputWeights(note=_without_head(checkpoint, sources, config))
    tied = is_tied(architecture, config)
    if not tied and not architecture.tied_output:
        return OutputWeights()
    if _equal(checkpoint.tensors[head], checkpoint.tensors[embeddings]):
        return OutputWeights(copy=head if architecture.tied_output else "")
    if "output" not in sources:
        raise ConversionError(
            f"{head} differs from {embeddings}, but llama.cpp computes the output of "
            f"{architecture.name} from the embeddings alone: such a model can't be converted. If "
            f"{head} is left over from training, remove it from the checkpoint"
        )
    said = "though config.json says that the two are tied"
    differs = f"{head} differs from {embeddings}: written as output.weight, {said}"
    return OutputWeights(note=differs if tied else "")


def lost_copies(
    checkpoint: Checkpoint, mapped: Iterable[MappedTensor], left_out: Iterable[str]
) -> list[str]:
    """Return a note for each tensor that is left out as a copy of the embeddings but is none."""
    written = next((t.sources[0] for t in mapped if t.name == "token_embd.weight"), None)
    return [
        f"{name} differs from {written}, but is left out: {_ONE if name != HEAD else _BY_FLAG}"
        for name in left_out
        if written is not None
        and name.endswith(("embed_tokens.weight", "shared.weight", HEAD))
        and not _equal(checkpoint.tensors[name], checkpoint.tensors[written])
    ]


def _without_head(
    checkpoint: Checkpoint, sources: Mapping[str, str], config: Mapping[str, Any]
) -> str:
    untied = config.get("tie_word_embeddings") is False and checkpoint.tensors
    if not untied or "output" not in sources:
        return ""
    return (
        f"config.json says that the output is not tied to the embeddings, but the checkpoint has "
        f"no {sources['output']}: llama.cpp will take the embeddings"
    )


def _equal(one: CheckpointTensor, other: CheckpointTensor) -> bool:
    """Whether two matrices have the same weights; the first difference ends the search."""
    if one.shape != other.shape:
        return False
    if not one.shape or 0 in one.shape:
        return True
    step = max(1, CHUNK_WEIGHTS * one.shape[0] // int(np.prod(one.shape)))
    return all(
        np.array_equal(
            read_float32(one, slice(start, start + step)),
            read_float32(other, slice(start, start + step)),
            equal_nan=True,
        )
        for start in range(0, one.shape[0], step)
    )
