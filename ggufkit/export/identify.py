"""Find the architecture of a file, among those with its name, and the checkpoint's config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ggufkit.architectures.registry import architecture_names, architectures_named
from ggufkit.converter.sources.gguf import GGUFSource
from ggufkit.errors import ConversionError, GGUFKitError, UnknownArchitectureError
from ggufkit.export.config import known_of, recover_config
from ggufkit.export.proof import check_tensors, compare_hparams
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.inverse_matching import CheckpointTensorPlan, map_tensors_back
from ggufkit.mapping.matching import generalize
from ggufkit.mapping.spec import MAX_COUNT, Architecture, Context, ExportSpec, complete_config
from ggufkit.mapping.transforms import Shape

# Hparams that determine the lengths of lists.
COUNTS = (
    *("block_count", "decoder_block_count", "expert_count", "nextn_predict_layers"),
    *("n_deepstack_layers", "attention.shared_kv_layers", "leading_dense_block_count"),
)


@dataclass(frozen=True)
class Identification:
    """The architecture of a file, and the checkpoint that it was made from.

    Attributes
    ----------
    architecture : Architecture
        The architecture.
    config : dict
        The config.json.
    tensors : list of CheckpointTensorPlan
        The tensors of the checkpoint.
    differing : list of str
        Hparams that the config does not reproduce.
    added : list of str
        Keys that a conversion writes, but the file lacks.
    """

    architecture: Architecture
    config: dict[str, Any]
    tensors: list[CheckpointTensorPlan]
    differing: list[str]
    added: list[str]


def identify(file: GGUFSource, metadata: Metadata, *, lenient: bool = False) -> Identification:
    """Find the architecture whose inverse explains all of a file, and reproduces it.

    Parameters
    ----------
    file : GGUFSource
        The file.
    metadata : Metadata
        Its metadata.
    lenient : bool
        Whether hparams may differ.

    Raises
    ------
    UnknownArchitectureError
        No architecture has the file's name.
    ConversionError
        None of them explains all of the file.
    """
    name = metadata.get("general.architecture")
    named = architectures_named(name) if isinstance(name, str) else ()
    found = [(a, a.export) for a in named if a.export is not None]
    where = file.origin["name"]
    if not found:
        known = ", ".join(architecture_names())
        raise UnknownArchitectureError(
            f"{where}: no checkpoint can be made of the architecture {str(name)[:80]!r}; known are "
            f"{known}"
        )
    shapes = {tensor.name: tensor.shape for tensor in file.tensors}
    empty = next((each for each, shape in shapes.items() if 0 in shape), None)
    if empty is not None:
        raise ConversionError(
            f"{where}: tensor {empty!r} has shape {shapes[empty]} and holds no weights; no "
            "checkpoint has such a tensor"
        )
    errors: list[str] = []
    best: Identification | None = None
    for architecture, spec in found:
        try:
            identity = _try(file, metadata, architecture, spec, shapes)
        except GGUFKitError as error:
            errors.append(f"{architecture.hf_classes[0]}: {error}")
            continue
        if identity is not None and (best is None or len(identity.differing) < len(best.differing)):
            best = identity
    if best is None:
        what = "\n  ".join(errors) or "its vocabulary or its keys are of another model"
        raise ConversionError(f"{where}: {name}, but of no model that ggufkit knows:\n  {what}")
    if best.differing and not lenient:
        listed = "\n  ".join(best.differing[:20])
        raise ConversionError(
            f"{where}: of its keys, {len(best.differing)} do not come out of the config that was "
            f"recovered:\n  {listed}\n--lenient exports all the same"
        )
    return best


def _try(
    file: GGUFSource,
    metadata: Metadata,
    architecture: Architecture,
    spec: ExportSpec,
    shapes: Mapping[str, Shape],
) -> Identification | None:
    known = known_of(architecture.name, metadata, shapes)
    known = replace(known, computed=_generated(file, architecture))
    with hparam_errors(architecture):
        _check_counts(known.hparams)
        if spec.matches and not spec.matches(known):
            return None
        config = recover_config(architecture, spec, known)
        if architecture.matches and not architecture.matches(config):
            return None  # it would be converted as another one of its class
        complete = complete_config(architecture, config)
        context = Context(complete, known.n_tokens)
        tensors = map_tensors_back(architecture, spec, known, context)
        check_tensors(architecture, context, tensors, shapes)
        differing, added = compare_hparams(architecture, config, metadata)
    return Identification(architecture, config, tensors, differing, added)


def _generated(file: GGUFSource, architecture: Architecture) -> dict[str, Any]:
    """Return the computed tensors, which checkpoints do not have."""
    names = {generated.name for generated in architecture.computed}
    return {
        tensor.name: file.reader(tensor).read(slice(0, 1)).reshape(-1)
        for tensor in file.tensors
        if generalize(tensor.name)[0] in names
    }


def _check_counts(hparams: Mapping[str, Any]) -> None:
    for key in COUNTS:
        count = hparams.get(key)
        if count is not None and (type(count) is not int or not 0 <= count <= MAX_COUNT):
            raise ConversionError(f"{key} is {str(count)[:40]}, not a count up to {MAX_COUNT}")


@contextmanager
def hparam_errors(architecture: Architecture) -> Iterator[None]:
    """Turn errors of an architecture's functions into a message about the file's hparams.

    Raises
    ------
    ConversionError
        An hparam is missing, or has an invalid value.
    """
    try:
        yield
    except GGUFKitError:
        raise
    except KeyError as error:
        raise ConversionError(f"the file lacks {error}, which {architecture.name} needs") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError) as error:
        raise ConversionError(
            f"the file has an invalid value for {architecture.name}: {error}"
        ) from None
