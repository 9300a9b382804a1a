"""Write a planned export: a folder that is complete, or does not look like a checkpoint.

Files are made in a folder next to the final one, named ``.partial``, and moved when all are
complete; config.json, without which no program takes a folder for a checkpoint, comes last.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from ggufkit.converter.execution.scheduling import map_bounded
from ggufkit.errors import NotFiniteError, OutputError
from ggufkit.export.dtypes import stored
from ggufkit.export.plan import INDEX, ExportPlan, ExportTensor, ShardPlan, plan_export
from ggufkit.export.rows import FileRows, row_chunks
from ggufkit.io.atomic import SUFFIX, PartialFile, output_errors
from ggufkit.io.folder_lock import LOCK_NAME, locked
from ggufkit.io.text import write_bytes_atomic
from ggufkit.types import Progress

CONFIG = "config.json"
POOLING = "1_Pooling/config.json"
# Files that exports write; --force removes those of another export.
OURS = (
    CONFIG,
    INDEX,
    POOLING,
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "added_tokens.json"),
    *("spiece.model", "sentencepiece.bpe.model", "generation_config.json", "modules.json"),
    "README.md",
)
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")


def run_export(
    plan: ExportPlan,
    *,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress = lambda _: None,
) -> Path:
    """Write a planned checkpoint, completely or not at all.

    Parameters
    ----------
    plan : ExportPlan
        From `plan_export`.
    force : bool
        Replace the checkpoint that the folder holds.
    jobs : int, optional
        Threads.
    progress : callable
        Is called with bytes as they are written.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        The folder is not empty, or can't be written.
    NotFiniteError
        A weight is too large for the chosen type.
    """
    out = plan.out
    check_out(out, force=force)
    partial = out.with_name(out.name + SUFFIX)
    _make_partial(partial)
    try:
        with locked(partial):
            _clear(partial)
            try:
                files = _write(plan, partial, jobs or os.cpu_count() or 1, progress)
            except BaseException:
                _clear(partial)  # it can't be resumed
                raise
            _move(partial, out, files)
    finally:
        with suppress(OSError):  # it stays if it has other files
            partial.rmdir()
    return out


def _make_partial(folder: Path) -> None:
    """Make the folder for unfinished files; one with other people's files is not ours to clear."""
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        ours = not any(folder.iterdir()) or os.path.lexists(folder / LOCK_NAME)
    if folder.is_symlink() or not ours:
        raise OutputError(f"{folder} is in the way, and not of an export: move it elsewhere")


def _write(plan: ExportPlan, folder: Path, jobs: int, progress: Progress) -> list[str]:
    """Write all files and return their names."""
    for shard in plan.shards:
        _write_shard(plan, shard, folder, jobs, progress)
    files = {**plan.files, CONFIG: (json.dumps(plan.config, indent=2) + "\n").encode()}
    for name, data in files.items():
        _write_file(folder / name, data)
    return [*(shard.name for shard in plan.shards), *files]


def check_out(out: Path, *, force: bool = False) -> None:
    """Check that a folder can take an export.

    Raises
    ------
    OutputError
        It is a file, or not empty.
    """
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: give a folder")
    if not force and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            f"{out} is not empty: replace its files with --force, or choose another folder"
        )


def export_hf(
    path: str | Path,
    out: str | Path | None = None,
    *,
    dtype: Literal["auto", "bf16", "f16", "f32"] = "auto",
    max_shard_size: int = 5_000_000_000,
    lenient: bool = False,
    force: bool = False,
    jobs: int | None = None,
    progress: Progress = lambda _: None,
) -> Path:
    """Make a Hugging Face checkpoint from a GGUF file.

    Parameters are those of `plan_export` and `run_export`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    GGUFKitError
        No checkpoint is left behind.
    """
    plan = plan_export(
        path, out, dtype=dtype, max_shard_size=max_shard_size, lenient=lenient, jobs=jobs
    )
    return run_export(plan, force=force, jobs=jobs, progress=progress)


def _write_shard(
    plan: ExportPlan, shard: ShardPlan, folder: Path, jobs: int, progress: Progress
) -> None:
    with PartialFile(folder / shard.name, shard.n_bytes) as file, ThreadPoolExecutor(jobs) as pool:
        file.write_at(0, shard.header)

        def write(task: tuple[ExportTensor, FileRows, slice]) -> int:
            tensor, rows, chunk = task
            inverse = tensor.plan.inverse
            values = inverse.transform.apply(rows, chunk)
            data = stored(values, tensor.dtype, inverse.arithmetic)
            _check_finite(tensor, values, data)
            width = values[0].size if values.ndim > 1 else 1
            start = tensor.offset + chunk.start * width * tensor.dtype.size
            file.write_at(len(shard.header) + start, np.ascontiguousarray(data))
            return int(data.nbytes)

        for n_bytes in map_bounded(write, _tasks(plan, shard), pool, jobs):
            progress(n_bytes)
        file.publish()


def _tasks(plan: ExportPlan, shard: ShardPlan) -> Iterator[tuple[ExportTensor, FileRows, slice]]:
    for tensor in shard.tensors:
        rows = plan.rows(tensor)
        yield from ((tensor, rows, chunk) for chunk in row_chunks(tensor.plan.shape))


def _check_finite(tensor: ExportTensor, values: object, data: object) -> None:
    if tensor.dtype.name == "F16":
        lost = np.isinf(data) & np.isfinite(values)  # type: ignore[call-overload]
        if lost.any():
            raise NotFiniteError(
                f"{tensor.plan.name}: has values that float16 can't hold: use --dtype bf16, "
                "f32 or auto",
                tensor=tensor.plan.name,
            )


def _write_file(path: Path, data: bytes) -> None:
    with output_errors(path):
        path.parent.mkdir(exist_ok=True)
    write_bytes_atomic(path, data)


def _clear(folder: Path) -> None:
    """Remove the files of an export from a folder, complete or not; config.json first."""
    with output_errors(folder):
        for name in OURS:
            (folder / name).unlink(missing_ok=True)
        for pattern in WEIGHTS:
            for path in (*folder.glob(pattern), *folder.glob(pattern + SUFFIX)):
                path.unlink()
    with suppress(OSError):
        (folder / POOLING).parent.rmdir()


def _move(partial: Path, out: Path, names: list[str]) -> None:
    """Move the files to where they belong, after removing those of another export."""
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        _clear(out)
        for name in sorted(names, key=lambda name: name == CONFIG):
            if (out / name).parent.is_symlink() and name == POOLING:
                (out / name).parent.unlink()
            (out / name).parent.mkdir(exist_ok=True)
            (partial / name).replace(out / name)
    _clear(partial)
