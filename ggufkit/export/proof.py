"""Check an export: convert it again, and compare the result with the file.

The config and the names of tensors are mapped forwards again. Every hparam of the file must come
out unchanged, and every tensor with its name and shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ggufkit.errors import ConversionError, ShapeMismatchError
from ggufkit.gguf.metadata import Metadata
from ggufkit.mapping.inverse_matching import CheckpointTensorPlan
from ggufkit.mapping.matching import map_tensors
from ggufkit.mapping.spec import (
    UNPREFIXED,
    Architecture,
    Context,
    complete_config,
    compute_tensors,
    config_errors,
    write_hparams,
    write_leading_hparams,
)
from ggufkit.mapping.transforms import Shape, trimmed


def compare_hparams(
    architecture: Architecture, config: Mapping[str, Any], metadata: Metadata
) -> tuple[list[str], list[str]]:
    """Return what a conversion would write differently, and the keys that the file lacks.

    The first has a line per key of the file. Keys that only the conversion writes are not among
    them: older converters wrote fewer.
    """
    with config_errors(architecture):
        complete = complete_config(architecture, config)
        made = write_leading_hparams(architecture, complete)
        made.extend(write_hparams(architecture, complete, 0))
    prefix = f"{architecture.name}."
    differing = [
        f"{key}: {_said(metadata.get(key))} in the file, {_said(made.get(key))} from the config"
        for key in metadata
        if key.startswith(prefix)
        and not key.startswith(UNPREFIXED)
        and made.get(key) != metadata[key]
    ]
    added = [key for key in made if key not in metadata and not key.startswith(UNPREFIXED)]
    return differing, added


def check_tensors(
    architecture: Architecture,
    context: Context,
    planned: Sequence[CheckpointTensorPlan],
    shapes: Mapping[str, Shape],
    names: Sequence[str] | None = None,
) -> None:
    """Check that a conversion would give the file's tensors.

    Raises
    ------
    ConversionError
        Names or shapes would differ.
    """
    made_of = {plan.name: plan.shape for plan in planned}
    if len(made_of) != len(planned):
        raise ConversionError("two tensors would have the same name")
    with config_errors(architecture):
        mapped = map_tensors(architecture, list(made_of), context)
        made = {
            tensor.name: tensor.transform.shape(*(made_of[source] for source in tensor.sources))
            for tensor in mapped
        }
        computed = compute_tensors(architecture, context.config)
    made.update({name: tuple(values.shape) for name, values in computed.items()})
    wanted = set(shapes if names is None else names)
    odd = sorted(set(made) ^ wanted)
    if odd:
        raise ConversionError(f"a conversion would not give the same tensors: {', '.join(odd[:8])}")
    for name, shape in made.items():
        if trimmed(shape) != trimmed(tuple(shapes[name])):
            raise ShapeMismatchError(f"{name}: {tuple(shapes[name])} in the file, not {shape}")


def _said(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
