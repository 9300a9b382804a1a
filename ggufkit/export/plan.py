"""Plan an export: every file of the checkpoint, before any is written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

from ggufkit.converter.execution.scheduling import map_bounded
from ggufkit.converter.sources.base import SourceTensor
from ggufkit.converter.sources.gguf import GGUFSource
from ggufkit.errors import ConversionError
from ggufkit.export.card import card_files
from ggufkit.export.dtypes import DTYPES, NARROW, Dtype, holds
from ggufkit.export.identify import identify
from ggufkit.export.rows import FileRows, row_chunks, rows_of
from ggufkit.export.tokenizer import tokenizer_files
from ggufkit.mapping.inverse_matching import CheckpointTensorPlan
from ggufkit.mapping.spec import text_config

DEFAULT_SHARD_SIZE = 5_000_000_000
INDEX = "model.safetensors.index.json"
# More shards than any model's.
MAX_SHARDS = 99_999


@dataclass(frozen=True)
class ExportTensor:
    """A tensor to write.

    Attributes
    ----------
    plan : CheckpointTensorPlan
        The name and shape, and how it is made from the file.
    dtype : Dtype
        Its type.
    offset : int
        Its position, in bytes after the shard's header.
    """

    plan: CheckpointTensorPlan
    dtype: Dtype
    offset: int = 0

    @property
    def n_bytes(self) -> int:
        """The size in bytes."""
        return prod(self.plan.shape) * self.dtype.size


@dataclass(frozen=True)
class ShardPlan:
    """A safetensors file to write: its name, the bytes of its header, its tensors."""

    name: str
    header: bytes
    tensors: tuple[ExportTensor, ...]

    @property
    def n_bytes(self) -> int:
        """The size of the file in bytes."""
        return len(self.header) + sum(tensor.n_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class ExportPlan:
    """A checkpoint to write.

    Attributes
    ----------
    source : GGUFSource
        The GGUF file.
    path, out : Path
        The path of the GGUF file, and the folder of the checkpoint.
    config : dict
        The config.json.
    shards : tuple of ShardPlan
        The files of weights.
    files : dict of str to bytes
        All other files by name.
    dtype : str
        The type of most weights: ``bf16``, ``f16`` or ``f32``.
    notes : tuple of str
        Differences after another conversion, and losses.
    """

    source: GGUFSource
    path: Path
    out: Path
    config: dict[str, Any]
    shards: tuple[ShardPlan, ...]
    files: dict[str, bytes]
    dtype: str
    notes: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """The size of all weights in bytes."""
        return sum(shard.n_bytes for shard in self.shards)

    def rows(self, tensor: ExportTensor) -> FileRows:
        """Return the rows of the file from which a tensor is made."""
        return rows_of(self.source, self._tensors, tensor.plan)

    @cached_property
    def _tensors(self) -> dict[str, SourceTensor]:
        return {tensor.name: tensor for tensor in self.source.tensors}


def plan_export(
    path: str | Path,
    out: str | Path | None = None,
    *,
    dtype: Literal["auto", "bf16", "f16", "f32"] = "auto",
    max_shard_size: int = DEFAULT_SHARD_SIZE,
    lenient: bool = False,
    jobs: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> ExportPlan:
    """Plan the checkpoint of a GGUF file.

    Parameters
    ----------
    path : str or Path
        The file, or one of its splits.
    out : str or Path, optional
        The folder; by default the file's name with ``-HF``.
    dtype : {"auto", "bf16", "f16", "f32"}
        Type of the weights. ``auto`` looks at all of them: it takes bf16 or f16, whichever holds
        more weights exactly, if that is at least half of all; tensors that it does not hold
        exactly are f32.
    max_shard_size : int
        Largest size of weights per file in bytes; a larger tensor gets a separate file.
    lenient : bool
        Whether hparams may differ after another conversion.
    jobs : int, optional
        Threads.
    progress : callable
        Called with numbers of weights as they are examined.

    Raises
    ------
    FormatError
        The file is not a well-formed GGUF file.
    ConversionError
        ggufkit does not know the model, or can't make a checkpoint from it.
    """
    path = Path(path)
    file = GGUFSource.open(path, allow_requantize=True)
    metadata = file.base_metadata.copy()
    found = identify(file, metadata, lenient=lenient)
    planned = sorted(found.tensors, key=lambda tensor: _in_order(tensor.name))
    main, dtypes = _dtypes(file, planned, dtype, jobs or os.cpu_count() or 1, progress)
    config = dict(found.config)
    _check_finite(config)
    text = text_config(config) or config
    pooling = config.pop("pooling_mode", None)
    config["torch_dtype"] = DTYPES[main].torch
    tensors = [ExportTensor(plan, DTYPES[d]) for plan, d in zip(planned, dtypes, strict=True)]
    restored = tokenizer_files(metadata, found.architecture, config)
    notes = [*(f"hparam {line}" for line in found.differing), *restored.notes]
    if found.added:
        notes.append(f"a conversion writes {', '.join(found.added)} too, which the file lacks")
    files = {**restored.files, **card_files(metadata, text, pooling)}
    shards = _shards(tensors, max_shard_size)
    if len(shards) > 1:
        files[INDEX] = _index(shards)
    return ExportPlan(
        source=file,
        path=path,
        out=Path(f"{path.stem}-HF") if out is None else Path(out),
        config=config,
        shards=tuple(shards),
        files=files,
        dtype=main,
        notes=tuple(notes),
    )


def _check_finite(config: dict[str, Any]) -> None:
    """Refuse numbers that JSON can't represent."""
    try:
        json.dumps(config, allow_nan=False)
    except ValueError:
        raise ConversionError(
            "a key of the file is NaN or infinite: config.json can't say"
        ) from None


def _in_order(name: str) -> tuple[Any, ...]:
    """Return a key that sorts numbers in names as numbers."""
    parts = name.split(".")
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else part) for part in parts)


def _dtypes(
    file: GGUFSource,
    planned: Sequence[CheckpointTensorPlan],
    wanted: str,
    jobs: int,
    progress: Callable[[int], None],
) -> tuple[str, list[str]]:
    """Return the main type, and the type of each tensor."""
    if wanted != "auto":
        return wanted, [wanted] * len(planned)
    exact = _exact(file, planned, jobs, progress)
    sizes = [prod(plan.shape) for plan in planned]
    held = {
        name: sum(n for n, names in zip(sizes, exact, strict=True) if name in names)
        for name in NARROW
    }
    main = max(NARROW, key=lambda name: held[name])
    if 2 * held[main] < sum(sizes):
        return "f32", ["f32"] * len(planned)
    return main, [main if main in names else "f32" for names in exact]


def _exact(
    file: GGUFSource,
    planned: Sequence[CheckpointTensorPlan],
    jobs: int,
    progress: Callable[[int], None],
) -> list[set[str]]:
    """Return the narrow types that hold each tensor exactly."""
    tensors = {tensor.name: tensor for tensor in file.tensors}

    def measure(number: int) -> tuple[int, set[str]]:
        plan = planned[number]
        rows = rows_of(file, tensors, plan)
        left = set(NARROW)
        for chunk in row_chunks(plan.shape):
            values = plan.inverse.transform.apply(rows, chunk)
            left = {n for n in left if holds(values, DTYPES[n], plan.inverse.arithmetic)}
            if not left:
                break
        return number, left

    found: dict[int, set[str]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for number, names in map_bounded(measure, range(len(planned)), pool, jobs):
            found[number] = names
            progress(prod(planned[number].shape))
    return [found[number] for number in range(len(planned))]


def _shards(tensors: Iterable[ExportTensor], limit: int) -> list[ShardPlan]:
    groups: list[list[ExportTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.n_bytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(ExportTensor(tensor.plan, tensor.dtype, size))
        size += tensor.n_bytes
    n = len(groups)
    if n > MAX_SHARDS:
        raise ConversionError(f"{n} files are too many: give a larger --max-shard-size")
    names = [f"model-{i + 1:05d}-of-{n:05d}.safetensors" for i in range(n)]
    if n == 1:
        names = ["model.safetensors"]
    return [
        ShardPlan(name, _header(group), tuple(group))
        for name, group in zip(names, groups, strict=True)
    ]


def _header(tensors: Sequence[ExportTensor]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for tensor in tensors:
        entries[tensor.plan.name] = {
            "dtype": tensor.dtype.name,
            "shape": list(tensor.plan.shape),
            "data_offsets": [tensor.offset, tensor.offset + tensor.n_bytes],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _index(shards: Sequence[ShardPlan]) -> bytes:
    places = {tensor.plan.name: shard.name for shard in shards for tensor in shard.tensors}
    size = sum(tensor.n_bytes for shard in shards for tensor in shard.tensors)
    index = {"metadata": {"total_size": size}, "weight_map": places}
    return (json.dumps(index, indent=2) + "\n").encode()
