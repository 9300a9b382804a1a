"""A LoRA adapter as a GGUF file, which llama.cpp adds to a model when it loads that.

The bytes are those of llama.cpp's convert_lora_to_gguf.py, but for adapters whose strength it
gets wrong: the file has one alpha, and each weight's scale is alpha / rank. Where PEFT's scales
are others (use_rslora, alpha_pattern) alpha is chosen, or else B multiplied, so that they are
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ggufkit.architectures.registry import find_architecture
from ggufkit.checkpoint import Checkpoint
from ggufkit.checkpoint.model_card import general_metadata
from ggufkit.checkpoint.safetensors import read_float32
from ggufkit.codecs import quantize
from ggufkit.converter.lora.adapter import Adapter
from ggufkit.converter.sources.base import QUANTIZATION_VERSION, QUANTIZATION_VERSION_KEY
from ggufkit.errors import ConversionError, OutputError, UnmappedTensorsError
from ggufkit.gguf.layout import Layout, plan_layout
from ggufkit.gguf.metadata import Metadata
from ggufkit.gguf.naming import build_name
from ggufkit.gguf.writer import write
from ggufkit.io.atomic import output_errors
from ggufkit.io.guarded_files import has_file, read_json
from ggufkit.mapping.matching import MappedTensor, map_tensors
from ggufkit.mapping.spec import Context, complete_config, config_errors
from ggufkit.mapping.transforms import Factors, Floats
from ggufkit.types import TensorType

if TYPE_CHECKING:
    from ggufkit.gguf.layout import TensorSpec
    from ggufkit.mapping.spec import Architecture

OUTTYPES = {
    "f32": TensorType.F32,
    "f16": TensorType.F16,
    "bf16": TensorType.BF16,
    "q8_0": TensorType.Q8_0,
}
ALPHA_KEY = "adapter.lora.alpha"
TOKENS_KEY = "adapter.alora.invocation_tokens"
EMBEDDING = "token_embd.weight"


@dataclass(frozen=True)
class AdapterPlan:
    """An adapter's file, laid out.

    Attributes
    ----------
    path : Path
        Where it goes.
    adapter : Adapter
        What is converted.
    architecture : str
        Of the base model.
    alpha : float
        What the file says.
    factors : mapping of str to float
        By the checkpoint's name, what B is multiplied with; empty if the alpha says it all.
    tensors : tuple of MappedTensor
        How weights come out of the checkpoint.
    layout : Layout
        The file's bytes.
    """

    path: Path
    adapter: Adapter
    architecture: str
    alpha: float
    factors: Mapping[str, float]
    tensors: tuple[MappedTensor, ...]
    layout: Layout


def plan_adapter(
    adapter: str | Path,
    *,
    base: str | Path | None = None,
    out: str | Path | None = None,
    outtype: str = "f32",
) -> AdapterPlan:
    """Plan the GGUF file of a LoRA adapter.

    Parameters
    ----------
    adapter : str or Path
        A folder with adapter_config.json and adapter_model.safetensors or .bin, or ``owner/name``
        on the Hub.
    base : str or Path, optional
        The base model: a folder with its config.json, that file, or ``owner/name`` on the Hub; by
        default what adapter_config.json names. Its weights are not needed.
    out : str or Path, optional
        The file, or a folder; by default the adapter's, for one of the Hub the current.
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
    with config_errors(architecture):
        config = complete_config(architecture, given)
        tensors = _map(opened, architecture, config)
    alpha, factors = _alpha(opened)
    shapes: dict[str, tuple[int, ...]] = {}
    specs: list[TensorSpec] = []
    with config_errors(architecture):
        for name, values in _arrays(opened, tensors, factors):
            shapes[name] = values.shape
            specs.append((name, values.shape, _type_of(values, OUTTYPES[outtype])))
    metadata = _metadata(opened, architecture.name, alpha, shapes)
    path = _default_folder(adapter) if out is None else Path(out)
    if path.suffix != ".gguf":
        path /= _file_name(metadata, outtype)
    layout = plan_layout(metadata, specs)
    return AdapterPlan(path, opened, architecture.name, alpha, factors, tensors, layout)


def write_adapter(plan: AdapterPlan, *, force: bool = False) -> Path:
    """Write a planned file, whole or not at all.

    Parameters
    ----------
    plan : AdapterPlan
        From `plan_adapter`.
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
    arrays = _arrays(plan.adapter, plan.tensors, plan.factors)
    types = (info.type for info in plan.layout.tensors)
    return write(
        plan.path,
        plan.layout,
        (quantize(values, type_) for (_, values), type_ in zip(arrays, types, strict=True)),
    )


def _default_folder(adapter: str | Path) -> Path:
    """Return the adapter's folder; for one of the Hub, whose cache is no place, the current."""
    return Path(adapter) if Path(adapter).is_dir() else Path()


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
    if config.get("tie_word_embeddings") and "lm_head.weight" in adapter.pairs:
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
    """Return the file's alpha, and what B has to be multiplied with besides."""
    alpha = adapter.settings.alpha
    wanted = {name: pair.scale * pair.rank for name, pair in adapter.pairs.items()}
    found = {float(np.float32(value)) for value in wanted.values()}
    if len(found) == 1:
        return found.pop(), {}
    return alpha, {name: value / alpha for name, value in wanted.items() if value != alpha}


def _arrays(
    adapter: Adapter, tensors: tuple[MappedTensor, ...], factors: Mapping[str, float]
) -> Iterator[tuple[str, Floats]]:
    """Yield the file's tensors, one at a time."""
    for tensor in tensors:
        if tensor.sources[0] in adapter.norms:
            stored = adapter.norms[tensor.sources[0]]
            yield tensor.name, read_float32(stored)
            continue
        parts = [_factors(adapter, name, factors.get(name)) for name in tensor.sources]
        try:
            rows, cols = tensor.transform.on_lora(parts)
        except ConversionError as error:
            raise ConversionError(f"{adapter.path}: {tensor.sources[0]}: {error}") from None
        # token embeddings are looked up by row, in a that is stored transposed
        turned = tensor.name == EMBEDDING
        yield f"{tensor.name}.lora_a", np.ascontiguousarray(rows if turned else cols)
        yield f"{tensor.name}.lora_b", np.ascontiguousarray(cols.T if turned else rows)


def _factors(adapter: Adapter, name: str, factor: float | None) -> Factors:
    rows, cols = adapter.pairs[name].factors()
    if factor is not None:
        # of B, whichever side of the product that is
        if adapter.pairs[name].transposed:
            cols = cols * np.float32(factor)
        else:
            rows = rows * np.float32(factor)
    return rows, cols


def _type_of(values: Floats, wanted: TensorType) -> TensorType:
    if values.ndim < 2:
        return TensorType.F32
    return TensorType.F16 if values.shape[-1] % wanted.block_size else wanted


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
    metadata[QUANTIZATION_VERSION_KEY] = QUANTIZATION_VERSION
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


def _file_name(metadata: Metadata, outtype: str) -> str:
    def text(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value if isinstance(value, str) else None

    return build_name(
        text("basename") or text("name") or "adapter",
        size_label=text("size_label"),
        fine_tune=text("finetune"),
        version=text("version"),
        encoding=outtype,
        type="LoRA",
    )
