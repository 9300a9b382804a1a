"""What a checkpoint is: its architecture, and which of its tensors is what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ggufkit.architectures.from_gguf_py import generic_architecture
from ggufkit.architectures.registry import architectures, find_architecture
from ggufkit.architectures.suggest import with_closest
from ggufkit.errors import ConversionError, TensorNamesError, UnknownArchitectureError
from ggufkit.mapping.matching import MappedTensor, map_tensors

if TYPE_CHECKING:
    from ggufkit.checkpoint import Checkpoint
    from ggufkit.mapping.spec import Architecture, Context


def find(
    checkpoint: Checkpoint, names: Sequence[str], generic: bool | str
) -> tuple[Architecture, dict[str, Any]]:
    """Return a checkpoint's architecture and, where it is a generic one, what its origin says.

    Parameters
    ----------
    checkpoint : Checkpoint
        Its config is looked at.
    names : sequence of str
        Its tensors; none, of a vocabulary alone.
    generic : bool or str
        See `ggufkit.converter.sources.checkpoint.CheckpointSource.open`.

    Raises
    ------
    ConversionError
        No architecture covers it; or one does, and a generic one is asked for.
    """
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


def match(
    checkpoint: Checkpoint, architecture: Architecture, context: Context
) -> list[MappedTensor]:
    """Match a checkpoint's tensors with its architecture's weights.

    Raises
    ------
    TensorNamesError
        They do not fit; it names the architecture that fits better, if one does.
    """
    try:
        return map_tensors(architecture, checkpoint.tensors, context)
    except TensorNamesError as error:
        raise with_closest(
            error, architecture, architectures(), checkpoint.tensors, checkpoint.config
        ) from None
